"""What can go wrong, named by what the caller should do about it.

The class name is the Step Functions error name: `ErrorEquals` in the definitions, the `errorType` of a
step's answer and the name in the journal are all `type(error).__name__`.

    TwinspanError
    ├── TransientError            try again: nothing is wrong with the request
    │   ├── AwsUnavailable        an AWS call was throttled, timed out or met a server fault
    │   ├── LeaseTaken            another run is acting on this link
    │   ├── RouteTableBusy        the route table is being changed
    │   └── JournalContended      another writer appended first, more often than is plausible
    └── PermanentError            trying again changes nothing
        ├── InvalidDocument       a document is malformed: says which field, and why
        │   ├── InvalidTopology
        │   ├── InvalidPolicy
        │   ├── InvalidTrace
        │   ├── InvalidPublishedConfig
        │   ├── InvalidEvent
        │   ├── InvalidIntent
        │   └── InvalidStepInput
        ├── UnknownLink           no topology is stored for this link
        ├── UnknownGeneration     the journal holds no such generation
        ├── AwsRefused            AWS refused the call: permissions, or a resource that is not there
        ├── LeaseLost             the lease expired or a newer fencing token exists
        ├── StaleGeneration       the published routing config is not the one that was planned against
        ├── RouteChanged          a route is no longer what the plan recorded as `before`
        ├── TableNotManaged       the route table is not on the allow-list
        ├── PublishedUnverified   the switch was made, but calls through the proxy do not confirm it
        └── RollbackIncomplete    a change could not be undone: an operator is needed

A refusal by the route model or by a probe is not an error: it is a verdict, and travels as data.
"""

from __future__ import annotations


class TwinspanError(Exception):
    """Root of the tree; never raised itself."""


class TransientError(TwinspanError):
    """Retrying with back-off is right."""


class PermanentError(TwinspanError):
    """Retrying is wrong: the request, a document or the world must change first."""


class AwsUnavailable(TransientError):
    """An AWS call failed in a way that may pass."""

    def __init__(self, operation: str, code: str) -> None:
        super().__init__(f"{operation}: {code}")
        self.operation, self.code = operation, code


class LeaseTaken(TransientError):
    """Another run holds the lease of this link."""

    def __init__(self, link_id: str, holder: str) -> None:
        super().__init__(f"{link_id}: the lease is held by {holder}")
        self.link_id, self.holder = link_id, holder


class RouteTableBusy(TransientError):
    """EC2 reports the route table as being modified."""

    def __init__(self, table_id: str) -> None:
        super().__init__(f"{table_id}: being modified")
        self.table_id = table_id


class JournalContended(TransientError):
    """The journal's head kept moving while an entry was being appended."""

    def __init__(self, link_id: str, attempts: int) -> None:
        super().__init__(f"{link_id}: the journal's head moved {attempts} times in a row")
        self.link_id, self.attempts = link_id, attempts


class InvalidDocument(PermanentError):
    """A document is malformed; `field` is a dotted path into it."""

    document = "document"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{self.document}: {field}: {reason}")
        self.field, self.reason = field, reason


class InvalidTopology(InvalidDocument):
    """The stored topology is malformed."""

    document = "topology"


class InvalidPolicy(InvalidDocument):
    """The stored policy is malformed, or names a path that the link does not have."""

    document = "policy"


class InvalidTrace(InvalidDocument):
    """A trace to replay is malformed."""

    document = "trace"


class InvalidPublishedConfig(InvalidDocument):
    """What is published as routing config is not one: someone else wrote it."""

    document = "routing config"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, f"{reason} (twinspan restore puts back what was published last)")


class InvalidEvent(InvalidDocument):
    """The execution's input is neither an intent nor an event that has a reader."""

    document = "event"


class InvalidIntent(InvalidDocument):
    """The intent is malformed, or names a path that the link does not have."""

    document = "intent"


class InvalidStepInput(InvalidDocument):
    """A document between two states does not fit its contract."""

    document = "step input"


class UnknownLink(PermanentError):
    """No topology is stored for this link."""

    def __init__(self, link_id: str) -> None:
        super().__init__(f"link_id: no link {link_id!r} is known here")
        self.link_id = link_id


class UnknownGeneration(PermanentError):
    """The journal holds no publication of this generation."""

    def __init__(self, link_id: str, generation: int) -> None:
        super().__init__(f"to_generation: {link_id} never published generation {generation}")
        self.link_id, self.generation = link_id, generation


class AwsRefused(PermanentError):
    """AWS refused a call for good: access denied, validation, or a missing resource."""

    def __init__(self, operation: str, code: str, detail: str = "") -> None:
        super().__init__(f"{operation}: {code}" + (f": {detail}" if detail else ""))
        self.operation, self.code = operation, code


class LeaseLost(PermanentError):
    """The lease expired, or a newer fencing token was issued."""

    def __init__(self, link_id: str, token: int) -> None:
        super().__init__(f"{link_id}: fencing token {token} is no longer the newest live one")
        self.link_id, self.token = link_id, token


class StaleGeneration(PermanentError):
    """The published generation is not the one that the plan was made against."""

    def __init__(self, link_id: str, expected: int, found: int) -> None:
        super().__init__(f"{link_id}: planned against generation {expected}, found {found}")
        self.link_id, self.expected, self.found = link_id, expected, found


class StalePolicy(PermanentError):
    """The policy was changed by somebody else meanwhile."""

    def __init__(
        self, link_id: str, expected: int, found: int, *, overwritten: bool = False
    ) -> None:
        what = (
            f"version {found - 1} was stored in the same moment and now lies beneath"
            if overwritten
            else f"somebody stored version {found} meanwhile, and nothing was changed"
        )
        super().__init__(f"{link_id}: the policy was read as parameter version {expected}; {what}")


class RouteChanged(PermanentError):
    """A route is not what the plan recorded as its `before`."""

    def __init__(self, table_id: str, destination: str, expected: str, found: str) -> None:
        super().__init__(f"{table_id} {destination}: expected {expected}, found {found}")
        self.table_id, self.destination = table_id, destination
        self.expected, self.found = expected, found


class TableNotManaged(PermanentError):
    """A plan touches a route table that is not on the topology's allow-list."""

    def __init__(self, table_id: str) -> None:
        super().__init__(f"{table_id}: not among the topology's managed_route_tables")
        self.table_id = table_id


class PublishedUnverified(PermanentError):
    """Calls through the proxy do not confirm the published switch."""

    def __init__(self, path: str, passed: int, required: int, detail: str) -> None:
        super().__init__(f"{path}: {passed} of the {required} required calls passed: {detail}")
        self.path, self.passed, self.required = path, passed, required


class RollbackIncomplete(PermanentError):
    """Some changes of a plan could not be undone."""

    def __init__(self, plan_id: str, remaining: list[str]) -> None:
        super().__init__(f"plan {plan_id}: not undone: {'; '.join(remaining)}")
        self.plan_id, self.remaining = plan_id, remaining
