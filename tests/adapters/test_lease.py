"""The lease and its fencing token."""

import pytest

from control_plane.adapters.lease import LeaseStore
from control_plane.errors import LeaseLost
from tests.adapters.conftest import TABLE
from tests.builders import NOON, later


@pytest.fixture
def leases(session):
    return LeaseStore(session, TABLE)


def test_only_one_run_holds_a_link(leases):
    """A second run does not get a live lease."""
    assert leases.acquire("bedrock", "run-1", 60, NOON)
    assert leases.acquire("bedrock", "run-2", 60, later(59)) is None


def test_each_lease_has_a_larger_token_even_after_release(leases):
    """Tokens never repeat, so that an old holder can be told from a new one."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    assert leases.release(first)
    second = leases.acquire("bedrock", "run-2", 60, NOON)
    assert second.token == first.token + 1


def test_a_crashed_runs_lease_is_taken_over_and_its_token_is_worthless(leases):
    """After expiry another run goes on, and the first may write no more."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    second = leases.acquire("bedrock", "run-2", 60, later(63))
    assert second.token > first.token
    with pytest.raises(LeaseLost):
        leases.renew(first, 60, later(64))


def test_a_lease_is_not_taken_over_within_the_clock_skew_allowance(leases):
    """A taker whose clock runs ahead a little does not rob a live holder."""
    leases.acquire("bedrock", "run-1", 60, NOON)
    assert leases.acquire("bedrock", "run-2", 60, later(61)) is None


def test_an_expired_lease_cannot_be_renewed(leases):
    """A holder that was slow stops, even if nobody took over."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    with pytest.raises(LeaseLost):
        leases.renew(first, 60, later(61))


def test_a_signal_left_while_the_lease_is_held_keeps_it_from_being_released(leases):
    """The holder observes again: no signal is lost."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    assert leases.leave_signal("bedrock")
    assert not leases.release(lease)
    leases.take_pending(lease)
    assert leases.release(lease)


def test_a_signal_cannot_be_left_with_nobody(leases):
    """Whoever finds the lease just released must act itself."""
    assert not leases.leave_signal("bedrock")


def test_releasing_a_lost_lease_does_not_release_the_new_holders(leases):
    """A late release is harmless."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.acquire("bedrock", "run-2", 60, later(63))
    assert leases.release(first)
    assert leases.current("bedrock")["holder"] == "run-2"


def test_a_kept_lease_outlives_its_expiry_until_an_operator_resolves_it(leases):
    """NeedsOperator holds the link without end."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.keep(lease, "a route could not be put back")
    assert leases.acquire("bedrock", "run-2", 60, later(10_000)) is None
    assert leases.resolve("bedrock")
    assert leases.acquire("bedrock", "run-2", 60, later(10_000))
