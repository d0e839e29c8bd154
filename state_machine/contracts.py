"""What travels between the states, as pydantic models.

The output of each state is the input of the next: documents grow along the way and never carry networks
or observations, only references to stored evidence. A document that does not fit is `InvalidStepInput`.

    AcquireLease ─ Acquired ─ Observe ─ Observed ─ Decide ─ Decided ─ Plan ─ Planned ─ … ─ Record ─ ReleaseLease
    ListLinks ─ Batches ─ Glance ─ Glanced
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from control_plane.adapters.fleet import Registration
from control_plane.domain.decide import Decision
from control_plane.domain.documents import Document
from control_plane.domain.plan import Plan
from control_plane.operations.conclude import Outcome
from control_plane.operations.run import Run


class Caught(Document):
    """What a Catch leaves: Step Functions' own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    Error: str
    Cause: str = ""

    def describe(self) -> str:
        """Class name and message, without the stack trace that Lambda puts in the cause."""
        return f"{self.Error}: {self.message()}" if self.message() else self.Error

    def message(self) -> str:
        """The message inside the cause, which Lambda wraps in JSON."""
        from json import JSONDecodeError, loads

        try:
            cause = loads(self.Cause)
        except JSONDecodeError:
            return self.Cause
        return str(cause.get("errorMessage", "")) if isinstance(cause, dict) else self.Cause


class Start(Document):
    """What the execution was started with, untouched, and its name."""

    execution: str
    event: dict[str, Any]
    approved_decision: dict[str, Any] | None = None

    def log_fields(self) -> dict[str, Any]:
        """Which event this execution is about, by EventBridge's own id; an intent by its kind."""
        named = {"event_id": "id", "event_source": "source", "intent": "intent"}
        return {name: self.event[key] for name, key in named.items() if key in self.event}


class Rejected(Start):
    """A start that could not be used."""

    error: Caught


class Acquired(Document):
    """Whether this execution acts: `acted` false means that the signal was ignored or handed over."""

    acts: bool
    reason: str
    unfinished: bool = False
    run: Run | None = None

    def log_fields(self) -> dict[str, Any]:
        """Whether it acts on the event, and why not."""
        return {"acts": self.acts} | ({"reason": self.reason} if self.reason else {})


class Held(Document):
    """A run with its lease: what every state in the middle has at least."""

    run: Run

    def holding(self) -> Run:
        """The run."""
        return self.run


class Observed(Held):
    """The look, by reference, with its verdicts in words for whoever reads the execution."""

    observation_ref: str
    health: dict[str, str]
    active_path: str | None
    generation: int


class Decided(Observed):
    """The decision. `action` is what the definition branches on."""

    decision: dict[str, Any]
    action: Literal["act", "approve", "none"]

    def log_fields(self) -> dict[str, Any]:
        """What was decided, by kind and path. Never the end of a step: what a log lacks changes nothing."""
        return {"decision": self.decision.get("kind"), "path": self.decision.get("path")}

    def the_decision(self) -> Decision:
        """The decision as the domain knows it."""
        return Decision.from_dict(self.decision)


class Planned(Decided):
    """The plan and the model's verdict on it, then how far it got."""

    plan: dict[str, Any]
    proof_ref: str
    verdict: Literal["proved", "refused", "dry-run"]
    changes_routes: bool
    publishes: bool
    applied: bool = False
    probe_passed: bool = False
    published_generation: int | None = None
    verified: bool = False
    rolled_back: bool = False
    error: Caught | None = None

    def log_fields(self) -> dict[str, Any]:
        """The decision, and the generation once it is published."""
        published = self.published_generation
        return super().log_fields() | ({"generation": published} if published else {})

    def the_plan(self) -> Plan:
        """The plan as the domain knows it."""
        return Plan.from_dict(self.plan)


class Concluding(Held):
    """All that Record may find, whichever state it comes from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    decision: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    verified: bool = False
    rolled_back: bool = False
    error: Caught | None = None


class Concluded(Held):
    """The outcome, on the way to releasing the lease."""

    outcome: Outcome
    decision: dict[str, Any] | None = None
    error: Caught | None = None


class Released(Concluded):
    """Whether another signal came while the lease was held, and how long a question to people may wait."""

    again: bool
    approval_seconds: int


class ApprovalRequest(Document):
    """A decision to be approved, with the token that resumes the execution."""

    run: Run
    decision: dict[str, Any]
    task_token: str


class NeedsOperator(Held):
    """A rollback that failed; a plan that an earlier run left open is not beside it, and is looked up."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plan: dict[str, Any] | None = None
    error: Caught


class Sweeping(Document):
    """A sweep that begins."""

    execution: str


class Batch(Sweeping):
    """Links that are glanced at together."""

    links: tuple[Registration, ...]


class Batches(Sweeping):
    """All links."""

    batches: tuple[Batch, ...]


class NeedOfLink(Registration):
    """A link that needs a run; `reasons` for whoever reads the execution."""

    reasons: tuple[str, ...]


class Glanced(Document):
    """How many links were glanced at, and those that need a run."""

    links: int
    needs: tuple[NeedOfLink, ...]
