"""Carrying one request over some path that works: the in-request failover.

The rules, by what is known of an attempt (the exceptions of `errors`):

- `NotSent`: the next path, always.
- `Unanswered`: the next path, unless the caller, the policy or the settings forbid it or the retry budget is spent. Such
  a call may be inferred twice, so it is counted and marked. On a pooled connection that its peer closed
  at the same moment, a fresh connection over the same path comes first.
- `BrokenAnswer`: never again, over no path.

One kind of answer goes to the next path as well, a **refusal at the door**: a whole 503, by which RFC 9110
says that the request was not taken up, and, once, a 403 that a newer credential in the secret explains.
Nothing of either reached the caller. If no other path does better, the refusal itself is the answer.

While a path is ejected no caller's request is its test: a probe readmits it. When every allowed path is
ejected, all that are left are probed at once and the first in order that answers is used, so that an open
breaker never refuses a path that works, and a dead link is told in one probe's time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from proxy.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker, Transition
from proxy.config_source import ConfigSource
from proxy.connection import Exchange
from proxy.credentials import Credential, CredentialSource
from proxy.errors import AttemptFailed, BrokenAnswer, DeadlinePassed, NotSent, Unanswered
from proxy.hedging import LOST, Copy, race
from proxy.model_lists import permits
from proxy.routing_config import PathConfig, RoutingConfig
from proxy.selection import allowed_paths, narrows, next_path
from proxy.upstream import PathUpstream, UpstreamOptions

logger = logging.getLogger(__name__)

SLOW_PATH_SECONDS = 2.0
"""Time to the first byte beyond the model's own, as Bedrock states it, that counts as a slow call."""
LATENCY_HEADER = b"x-amzn-bedrock-invocation-latency"
CREDENTIAL_ERRORS = (
    b"ExpiredTokenException",
    b"IncompleteSignature",
    b"InvalidClientTokenId",
    b"InvalidSignatureException",
    b"SignatureDoesNotMatch",
    b"UnrecognizedClientException",
)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of Bedrock, ready to be signed and written."""

    path: str
    canonical_path: str
    model_id: str = ""
    """Empty where no model is asked for."""


@dataclass(slots=True)
class Call:
    """One request to carry. Times are the event loop's."""

    target: Target
    headers: list[tuple[str, str]]
    body: bytes
    data_class: str
    deadline: float
    resend: bool = True
    within: str | None = None
    """A data class whose paths bound those of `data_class`; None for no such bound."""
    attempts: list[tuple[str, str]] = field(default_factory=list)
    """(path, how it ended) of each attempt, in order."""
    resent: bool = False
    """Written twice: the first may have been inferred as well."""
    hedged: bool = False
    """A second copy was begun while the first was silent."""
    exchange: Exchange | None = None
    """What was written last."""


@dataclass(slots=True)
class Carried:
    """An answer that has begun; `path` and `peer_ip` are of the socket that it comes from."""

    exchange: Exchange
    path: PathConfig
    peer_ip: str
    generation: int
    connect_seconds: float


class CannotCarry(Exception):
    """No path brought an answer; nothing of one reached the caller."""

    def __init__(self, generation: int) -> None:
        super().__init__(type(self).__name__)
        self.generation = generation


class NoRoutingConfig(CannotCarry):
    """None was ever loaded."""


class NoCredential(CannotCarry):
    """The commercial credential is not to be had, or does not fit the endpoint's scheme."""


class NoAllowedPath(CannotCarry):
    """Every path that this data class may use was tried or answered no probe."""

    def __init__(self, generation: int, paths: list[tuple[str, str]]) -> None:
        super().__init__(generation)
        self.paths = paths


class WiderThanGranted(CannotCarry):
    """The data class asked for may use paths that the caller's API key may not."""


class ModelNotPermitted(CannotCarry):
    """The link's policy, as published, does not let this model through."""


class NotResent(CannotCarry):
    """The request was written and not answered, and may not be written again."""

    def __init__(self, generation: int, reason: str, path: str) -> None:
        super().__init__(generation)
        self.reason = reason
        self.path = path


class OutOfTime(CannotCarry):
    """The deadline passed without an answer."""


class AnswerBroke(CannotCarry):
    """An answer began and broke before its headers were whole."""

    def __init__(self, generation: int, reason: str, path: str) -> None:
        super().__init__(generation)
        self.reason = reason
        self.path = path


class RetryBudget:
    """Resends as a share of requests, with a burst for the moment at which a path dies under many calls."""

    __slots__ = ("_burst", "_ratio", "_tokens")

    def __init__(self, ratio: float, burst: int) -> None:
        self._ratio = ratio
        self._burst = float(burst)
        self._tokens = float(burst)

    def earn(self) -> None:
        """A request came in."""
        if self._tokens < self._burst:
            self._tokens = min(self._burst, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Whether one resend may be made."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(slots=True)
class PathState:
    """A path's connections and its breaker."""

    upstream: PathUpstream
    breaker: CircuitBreaker
    confirming: asyncio.Task[None] | None = None

    def admits(self) -> bool:
        """Whether calls go here as an ordinary matter."""
        return not self.upstream.suspect and self.breaker.admits()


@dataclass(slots=True)
class CarrierCounters:
    """For metrics."""

    resent: int = 0
    failovers: int = 0
    refused_at_the_door: int = 0
    hedged: int = 0
    hedges_won: int = 0
    budget_refusals: int = 0
    attempts_failed: dict[tuple[str, str], int] = field(default_factory=dict)


class Carrier:
    """Knows all paths of the current config. Belongs to one event loop."""

    def __init__(
        self,
        source: ConfigSource,
        credentials: CredentialSource,
        options: UpstreamOptions,
        breaker_policy: BreakerPolicy,
        budget: RetryBudget,
        *,
        resend: bool,
        hedge_after_seconds: float,
        on_transition: Callable[[str, Transition, int], None],
    ) -> None:
        self._source = source
        self._credentials = credentials
        self._options = options
        self._breaker_policy = breaker_policy
        self._budget = budget
        self._resend = resend
        self._hedge_after_seconds = hedge_after_seconds
        self._on_transition = on_transition
        self._loop = asyncio.get_running_loop()
        self._states: dict[str, PathState] = {}
        self._retired: list[PathUpstream] = []
        self._allowed: dict[str, tuple[PathConfig, ...]] = {}
        self.counters = CarrierCounters()
        source.on_change(self._config_changed)
        if source.current is not None:
            self._config_changed(None, source.current)

    @property
    def states(self) -> dict[str, PathState]:
        """Enabled paths by name."""
        return self._states

    async def carry(self, call: Call) -> Carried:
        """Bring the request to an answer whose headers have arrived.

        Raises:
            UnknownDataClass: the config has no such class.
            CannotCarry: one of its kinds.
        """
        config = await self._source.ready()
        if config is None:
            raise NoRoutingConfig(0)
        if call.within is not None and not narrows(config, call.data_class, call.within):
            raise WiderThanGranted(config.generation)
        if (models := config.allowed_models) and not permits(models, call.target.model_id):
            raise ModelNotPermitted(config.generation)
        if config.resend == "never":
            call.resend = False
        credential = await self._credentials.ready()
        if credential is None:
            raise NoCredential(config.generation)
        allowed = self._allowed.get(call.data_class)
        if allowed is None:
            allowed = self._allowed[call.data_class] = allowed_paths(config, call.data_class)
        self._budget.earn()
        return await self._over_some_path(call, config, allowed, credential)

    def answer_broke(self, carried: Carried, error: BrokenAnswer) -> None:
        """An answer broke off after its headers: for its path that is a failure like any other."""
        state = self._states.get(carried.path.name)
        if state is not None and error.reason not in ("abandoned", "deadline", "shutdown"):
            self._note(state, state.breaker.failed(self._loop.time(), error.reason))
            self._confirm(state)

    def usable_paths(self) -> list[str]:
        """Names of enabled paths that are not ejected and that some data class may use."""
        config = self._source.current
        if config is None:
            return []
        allowed = {method for methods in config.data_classes.values() for method in methods}
        return [
            name
            for name, state in self._states.items()
            if state.admits() and state.upstream.path.routing_method in allowed
        ]

    def tend(self, now: float) -> None:
        """For housekeeping: probe ejected paths whose time has come, close idle connections."""
        for state in self._states.values():
            state.upstream.close_idle(now)
            if state.breaker.wants_probe(now):
                self._start_probe(state)
        self._retired = [upstream for upstream in self._retired if upstream.in_flight]

    async def settle(self) -> None:
        """Wait for probes under way: each ends within its timeout."""
        tasks = [s.confirming for s in self._states.values() if s.confirming is not None]
        if tasks:
            await asyncio.wait(tasks)

    def close(self) -> None:
        """Close all connections; calls still on them fail."""
        for state in self._states.values():
            if state.confirming is not None:
                state.confirming.cancel()
            state.upstream.close()
        for upstream in self._retired:
            upstream.close()

    async def _over_some_path(
        self,
        call: Call,
        config: RoutingConfig,
        allowed: tuple[PathConfig, ...],
        credential: Credential,
    ) -> Carried:
        tried: dict[str, str] = {}
        refusals: list[Carried] = []
        answer: Carried | None = None
        try:
            answer = await self._until_answered(call, config, allowed, credential, tried, refusals)
            if answer is None and refusals:
                answer = refusals[-1]
        finally:
            for refusal in refusals:
                if refusal is not answer:
                    refusal.exchange.give_up()
        if answer is not None:
            return answer
        if self._loop.time() >= call.deadline:
            raise OutOfTime(config.generation)
        for path in allowed:
            tried.setdefault(path.name, "ejected")
        for path in config.paths:
            tried.setdefault(path.name, "excluded" if path.state == "excluded" else "not_allowed")
        raise NoAllowedPath(config.generation, list(tried.items()))

    async def _until_answered(
        self,
        call: Call,
        config: RoutingConfig,
        allowed: tuple[PathConfig, ...],
        credential: Credential,
        tried: dict[str, str],
        refusals: list[Carried],
    ) -> Carried | None:
        """Path after path; None when no path or no time is left. 503s are gathered in `refusals`."""
        unanswered: tuple[str, str] | None = None
        sent = False
        while True:
            state = await self._next_state(allowed, tried)
            if state is None or self._loop.time() >= call.deadline:
                return None
            name = state.upstream.path.name
            if sent and not self._may_resend(call):
                if unanswered is None:
                    return None
                raise NotResent(config.generation, *unanswered)
            if unanswered is not None:
                call.resent = True
                self.counters.resent += 1
            if call.attempts:
                self.counters.failovers += 1
            try:
                if self._hedge_after_seconds and not call.hedged and self._resend_wanted(call):
                    carried = await self._hedged(
                        state, call, config, allowed, credential, tried, refusals
                    )
                else:
                    carried = await self._over_path(state, call, config, credential)
            except NotSent as error:
                tried[name] = error.reason
            except Unanswered as error:
                tried.setdefault(name, error.reason)
                sent, unanswered = True, (error.reason, name)
                if not self._resend_wanted(call):
                    raise NotResent(config.generation, *unanswered) from None
            except BrokenAnswer as error:
                raise AnswerBroke(config.generation, error.reason, name) from None
            except DeadlinePassed:
                raise OutOfTime(config.generation) from None
            else:
                if carried.exchange.status != 503:
                    return carried
                self.counters.refused_at_the_door += 1
                tried[name] = "upstream_503"
                sent, unanswered = True, None
                refusals.append(carried)
                if not self._resend_wanted(call):
                    return None

    async def _hedged(
        self,
        state: PathState,
        call: Call,
        config: RoutingConfig,
        allowed: tuple[PathConfig, ...],
        credential: Credential,
        tried: dict[str, str],
        refusals: list[Carried],
    ) -> Carried:
        """As `_over_path`; if nothing has come for the time set, over another path at the same time, and once only."""
        name = state.upstream.path.name

        def begun(over: PathState, copy: Call) -> Copy:
            task = self._loop.create_task(self._over_path(over, copy, config, credential))
            return Copy(over.upstream.path.name, copy, task)

        def another() -> Copy | None:
            other = next_path(allowed, {*tried, name}, self._admits).path
            if other is None or self._states[other.name].breaker.state is not BreakerState.CLOSED:
                return None
            if not self._may_resend(call):
                return None
            call.hedged = True
            self.counters.hedged += 1
            copy = replace(call, attempts=[], resent=False, exchange=None)
            return begun(self._states[other.name], copy)

        ended = await race(begun(state, call), self._hedge_after_seconds, another)
        if (second := ended.second) is not None:
            call.attempts += second.call.attempts
            call.resent = call.resent or second.call.exchange is not None
            if ended.winner is not None:
                loser = ended.first if ended.winner is second else second
                self.counters.hedges_won += ended.winner is second
                if loser.task.cancelled():
                    call.attempts.append((loser.path, LOST))
            else:
                tried[second.path] = second.outcome
                if second.task.exception() is None:
                    self.counters.refused_at_the_door += 1
                    refusals.append(second.task.result())
        if ended.winner is not None:
            return ended.winner.task.result()
        if (error := ended.failure()) is None:
            return ended.first.task.result()
        if second is not None and error is not ended.first.task.exception():
            tried[name] = ended.first.outcome
        raise error

    async def _next_state(
        self, allowed: tuple[PathConfig, ...], tried: dict[str, str]
    ) -> PathState | None:
        states = self._states
        now = self._loop.time()
        for path in allowed:
            state = states.get(path.name)
            if state is not None and state.breaker.wants_probe(now):
                self._start_probe(state)
        if not tried and allowed and self._admits(allowed[0].name):
            return states[allowed[0].name]
        choice = next_path(allowed, tried, self._admits)
        if choice.path is not None:
            return states[choice.path.name]
        left = [states[path.name] for path in choice.ejected if path.name in states]
        if not left:
            return None
        answers = await asyncio.gather(*(state.upstream.probe() for state in left))
        for state, answer in zip(left, answers, strict=True):
            if answer is None:
                tried[state.upstream.path.name] = state.breaker.reason or "no_response"
        return next(
            (s for s, answer in zip(left, answers, strict=True) if answer is not None), None
        )

    def _admits(self, name: str) -> bool:
        state = self._states.get(name)
        return state is not None and state.admits()

    async def _over_path(
        self, state: PathState, call: Call, config: RoutingConfig, credential: Credential
    ) -> Carried:
        """One path, on at most two connections and with each credential at most once."""
        # A pooled connection may be closed by its peer just as a request leaves. A caller who cannot have
        # that mended by a second sending is not exposed to it.
        fresh = not self._resend_wanted(call)
        refused: tuple[Credential, ...] = ()
        while True:
            try:
                carried = await self._attempt(state, call, config, credential, fresh=fresh)
            except Unanswered as error:
                if not error.stale or fresh or not self._may_resend(call):
                    self._failed(state, call, error)
                    raise
                state.breaker.cancelled()
                call.resent = fresh = True
                self.counters.resent += 1
                call.attempts.append((state.upstream.path.name, "stale_connection"))
                continue
            except AttemptFailed as error:
                self._failed(state, call, error)
                raise
            except DeadlinePassed:
                state.breaker.cancelled()
                call.attempts.append((state.upstream.path.name, "deadline"))
                raise
            except asyncio.CancelledError:
                state.breaker.cancelled()
                raise
            if carried.exchange.status == 403 and _about_credential(carried.exchange):
                refused += (credential,)
                other = await self._credentials.after_refusal(credential)
                if other is not None and not any(other is known for known in refused):
                    carried.exchange.give_up()
                    state.breaker.cancelled()
                    call.attempts.append((state.upstream.path.name, "credential_refused"))
                    credential = other
                    continue
            self._answered(state, call, carried)
            return carried

    async def _attempt(
        self,
        state: PathState,
        call: Call,
        config: RoutingConfig,
        credential: Credential,
        *,
        fresh: bool,
    ) -> Carried:
        upstream = state.upstream
        signer = credential.for_scheme(upstream.scheme)
        if signer is None:
            raise NoCredential(config.generation)
        state.breaker.begin()
        began = self._loop.time()
        connection = await upstream.acquire(fresh=fresh)
        connected = self._loop.time()
        target = call.target
        host = upstream.host_header
        added = signer.headers(host, target.canonical_path, call.headers, call.body)
        lines = [f"POST {target.path} HTTP/1.1\r\nhost: {host}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in call.headers]
        lines += [f"{name}: {value}\r\n" for name, value in added]
        lines.append(f"content-length: {len(call.body)}\r\n\r\n")
        head = "".join(lines).encode("latin-1")
        exchange = call.exchange = upstream.send(connection, head, call.body, call.deadline)
        try:
            await exchange.head()
        except asyncio.CancelledError:
            exchange.give_up()
            raise
        return Carried(
            exchange, upstream.path, connection.peer_ip, config.generation, connected - began
        )

    def _answered(self, state: PathState, call: Call, carried: Carried) -> None:
        exchange, name = carried.exchange, state.upstream.path.name
        if exchange.status == 503:
            call.attempts.append((name, "upstream_503"))
            self._note(state, state.breaker.failed(self._loop.time(), "upstream_503"))
            self._confirm(state)
            return
        call.attempts.append((name, "answered"))
        slow = False
        for header, value in exchange.headers:
            if header == LATENCY_HEADER and exchange.first_byte_at is not None:
                if not (value.isdigit() and len(value) <= 9):
                    continue
                elapsed = carried.connect_seconds + exchange.first_byte_at - exchange.written_at
                slow = elapsed - int(value) / 1000 > SLOW_PATH_SECONDS
        self._note(state, state.breaker.succeeded(self._loop.time(), slow=slow))

    def _failed(self, state: PathState, call: Call, error: AttemptFailed) -> None:
        name = state.upstream.path.name
        call.attempts.append((name, error.reason))
        key = (name, error.reason)
        self.counters.attempts_failed[key] = self.counters.attempts_failed.get(key, 0) + 1
        now = self._loop.time()
        if isinstance(error, BrokenAnswer):
            # Whoever answers like this must not get the next request as well.
            self._note(state, state.breaker.trip(now, error.reason))
        else:
            self._note(state, state.breaker.failed(now, error.reason))
            self._confirm(state)

    def _resend_wanted(self, call: Call) -> bool:
        return call.resend and self._resend

    def _may_resend(self, call: Call) -> bool:
        if not self._resend_wanted(call):
            return False
        if not self._budget.spend():
            self.counters.budget_refusals += 1
            return False
        return True

    def _confirm(self, state: PathState) -> None:
        """One failure makes a path suspect; a probe clears it or opens the breaker."""
        if state.breaker.state is BreakerState.CLOSED:
            state.upstream.suspect = True
            self._start_probe(state)

    def _start_probe(self, state: PathState) -> None:
        if state.confirming is None:
            state.confirming = self._loop.create_task(self._probe(state))
            state.confirming.add_done_callback(lambda task: self._probe_done(state, task))

    def _probe_done(self, state: PathState, task: asyncio.Task[None]) -> None:
        state.confirming = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("probe failed", extra={"error": type(error).__name__})

    async def _probe(self, state: PathState) -> None:
        status = await state.upstream.probe()
        answered = status is not None and status not in (502, 503, 504)
        now = self._loop.time()
        state.upstream.suspect = False
        if state.breaker.state is BreakerState.CLOSED:
            if not answered:
                reason = "no_response" if status is None else f"upstream_{status}"
                self._note(state, state.breaker.trip(now, reason))
        else:
            state.breaker.probed(now, answered)

    def _path_dead(self, upstream: PathUpstream, reason: str) -> None:
        state = self._states.get(upstream.path.name)
        if state is not None and state.upstream is upstream:
            self._note(state, state.breaker.trip(self._loop.time(), reason))

    def _note(self, state: PathState, transition: Transition | None) -> None:
        if transition is not None:
            name = state.upstream.path.name
            logger.warning(
                "path breaker",
                extra={"path": name, "state": transition.state.value, "reason": transition.reason},
            )
            self._on_transition(name, transition, self._source.generation)

    def _config_changed(self, old: RoutingConfig | None, new: RoutingConfig) -> None:
        self._allowed.clear()
        states: dict[str, PathState] = {}
        for path in new.paths:
            if path.state != "enabled":
                continue
            state = self._states.pop(path.name, None)
            if state is None:
                breaker = CircuitBreaker(self._breaker_policy)
                state = PathState(PathUpstream(path, self._options, self._path_dead), breaker)
            elif not _same_way(state.upstream.path, path):
                self._retire(state.upstream)
                state.upstream = PathUpstream(path, self._options, self._path_dead)
            else:
                state.upstream.path = path
            states[path.name] = state
        for state in self._states.values():
            self._retire(state.upstream)
        self._states = states
        if old is not None and old.active_path != new.active_path:
            if (left := states.get(old.active_path)) is not None:
                left.upstream.drain()
            # The control plane switches to a path only when it has proved it.
            states[new.active_path].breaker.permit_trials()
            states[new.active_path].upstream.suspect = False

    def _retire(self, upstream: PathUpstream) -> None:
        upstream.drain()
        self._retired.append(upstream)


def _same_way(old: PathConfig, new: PathConfig) -> bool:
    return old.endpoint_url == new.endpoint_url and old.peer_networks == new.peer_networks


def _about_credential(exchange: Exchange) -> bool:
    for name, value in exchange.headers:
        if name == b"x-amzn-errortype":
            return value.startswith(CREDENTIAL_ERRORS)
    return True
