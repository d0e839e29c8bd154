from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker

POLICY = BreakerPolicy()


def opened(at: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(POLICY)
    breaker.trip(at, "no_response")
    return breaker


def ejection(breaker: CircuitBreaker, since: float) -> float:
    """How long from `since` the breaker asks for no probe, to a hundredth of a second."""
    for step in range(100_000):
        if breaker.wants_probe(since + step / 100):
            return step / 100
    raise AssertionError("never asks for a probe")


def test_consecutive_failures_open() -> None:
    """The third failure in a row opens, with the last reason; a success between starts the count anew."""
    breaker = CircuitBreaker(POLICY)
    assert breaker.failed(0.0, "reset") is None
    assert breaker.failed(0.1, "reset") is None
    assert breaker.succeeded(0.2) is None
    assert breaker.failed(0.3, "reset") is None
    assert breaker.failed(0.4, "reset") is None
    transition = breaker.failed(0.5, "connect_refused")
    assert transition is not None
    assert (transition.state, transition.reason) == (BreakerState.OPEN, "connect_refused")
    assert not breaker.admits()


def test_a_failure_rate_opens_without_a_row() -> None:
    """Every second call failing opens once the window holds enough calls, and not before."""
    breaker = CircuitBreaker(POLICY)
    for call in range(POLICY.minimum_calls - 1):
        if call % 2:
            assert breaker.failed(call / 100, "reset") is None
        else:
            assert breaker.succeeded(call / 100) is None
    transition = breaker.failed(0.5, "reset")
    assert transition is not None
    assert transition.reason == "failure_rate"


def test_old_failures_leave_the_window() -> None:
    """Failures older than the window do not count towards the rate."""
    breaker = CircuitBreaker(BreakerPolicy(consecutive_failures=1000))
    for call in range(9):
        breaker.failed(call / 10, "reset")
    later = 1.0 + POLICY.window_seconds
    for call in range(30):
        assert breaker.succeeded(later + call / 100) is None
    assert breaker.failed(later + 0.5, "reset") is None
    assert breaker.state is BreakerState.CLOSED


def test_slow_calls_open() -> None:
    """When nearly all calls are answered slowly, the path is ejected though none failed."""
    breaker = CircuitBreaker(POLICY)
    transitions = [breaker.succeeded(n / 100, slow=True) for n in range(POLICY.minimum_calls)]
    last = transitions[-1]
    assert transitions[:-1] == [None] * (POLICY.minimum_calls - 1)
    assert last is not None
    assert last.reason == "slow_calls"


def test_ejection_grows_with_repeats_up_to_its_limit() -> None:
    """Each unanswered probe doubles the ejection, up to the maximum."""
    breaker, now, seen = opened(), 0.0, []
    for _ in range(8):
        seconds = ejection(breaker, now)
        seen.append(seconds)
        now += seconds
        breaker.probed(now, answered=False)
    assert seen == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_breaker_that_stayed_closed_forgets() -> None:
    """After a long quiet time the next ejection is as short as the first; after a short one it is not."""
    for quiet, expected in ((POLICY.forget_seconds + 1, 2.0), (5.0, 4.0)):
        breaker = opened()
        breaker.probed(2.0, answered=True)
        breaker.begin()
        breaker.succeeded(2.1)
        closed = breaker.succeeded(2.2)
        assert closed is not None
        assert closed.state is BreakerState.CLOSED
        again = 2.2 + quiet
        breaker.trip(again, "no_response")
        assert ejection(breaker, again) == expected


def test_trials_are_few_and_decide() -> None:
    """Half open, one call at a time is admitted; two successes close, one failure ejects again."""
    breaker = opened()
    assert not breaker.admits()
    breaker.probed(2.0, answered=True)
    assert breaker.admits()
    breaker.begin()
    assert not breaker.admits()
    assert breaker.succeeded(2.1) is None
    assert breaker.admits()
    breaker.begin()
    closed = breaker.succeeded(2.2)
    assert closed is not None
    assert closed.state is BreakerState.CLOSED

    failing = opened()
    failing.probed(2.0, answered=True)
    failing.begin()
    assert failing.failed(2.1, "reset") is None, "the opening was reported already"
    assert failing.state is BreakerState.OPEN
    assert ejection(failing, 2.1) == 4.0


def test_a_trial_that_says_nothing_gives_its_place_back() -> None:
    """A cancelled trial leaves the breaker half open and admitting."""
    breaker = opened()
    breaker.permit_trials()
    breaker.begin()
    assert not breaker.admits()
    breaker.cancelled()
    assert breaker.admits()


def test_proof_from_elsewhere_permits_trials_at_once() -> None:
    """A path that the control plane has proved is tried without waiting for the ejection's end."""
    breaker = opened()
    breaker.permit_trials()
    assert breaker.admits()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["begin", "ok", "slow", "fail", "trip", "probe_ok", "probe_no", "drop"]
            ),
            st.floats(0, 5),
        ),
        max_size=80,
    )
)
def test_no_history_locks_a_path_out(events: list[tuple[str, float]]) -> None:
    """After any history a path is either admitted, held by a trial under way, or probed in bounded time."""
    breaker, now, flying = CircuitBreaker(POLICY), 0.0, 0
    for kind, seconds in events:
        now += seconds
        if kind == "begin" and breaker.admits():
            breaker.begin()
            flying += 1
        elif kind in ("ok", "slow", "fail", "drop") and flying:
            flying -= 1
            if kind == "fail":
                breaker.failed(now, "reset")
            elif kind == "drop":
                breaker.cancelled()
            else:
                breaker.succeeded(now, slow=kind == "slow")
        elif kind == "trip":
            breaker.trip(now, "no_response")
        elif kind.startswith("probe") and breaker.wants_probe(now):
            breaker.probed(now, answered=kind == "probe_ok")
    while flying:
        flying -= 1
        breaker.cancelled()
    later = now + POLICY.ejection_maximum_seconds
    assert breaker.admits() or breaker.wants_probe(later)
