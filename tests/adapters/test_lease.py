"""The lease and its fencing token."""

import pytest

from control_plane.adapters.lease import Lease, LeaseStore
from control_plane.errors import LeaseLost, TwinspanError
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


def test_a_renewed_lease_runs_from_now(leases):
    """Whoever proves that it still holds the link gets the lease anew, with the same token."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    assert first.expires_at == later(60)
    assert leases.renew(first, 30, later(50)) == Lease("bedrock", "run-1", first.token, later(80))
    assert leases.current("bedrock")["expires_ms"] == later(80).timestamp() * 1000
    assert leases.acquire("bedrock", "run-2", 60, later(79)) is None


def test_a_lost_lease_names_the_link_and_the_token(leases):
    """What a holder must know of the lease that it lost, whichever way it learns of it."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.acquire("bedrock", "run-2", 60, later(63))
    told = str(LeaseLost("bedrock", first.token))
    for late in (
        lambda: leases.renew(first, 60, later(64)),
        lambda: leases.take_pending(first),
        lambda: leases.keep(first, "too late"),
    ):
        with pytest.raises(LeaseLost) as lost:
            late()
        assert str(lost.value) == told
    assert "bedrock" in told
    assert str(first.token) in told


def test_the_first_token_is_one(leases):
    """Tokens count the leases that a link ever had."""
    assert leases.acquire("bedrock", "run-1", 60, NOON).token == 1


def test_what_a_signal_told_of_reaches_the_holder(leases):
    """A run that observes again knows the trouble that was left with it; only the newest counts."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.leave_signal("bedrock")
    assert leases.take_pending(lease) is None
    leases.leave_signal("bedrock", "tunnel-1 is down")
    leases.leave_signal("bedrock", "tunnel-2 is down")
    assert leases.current("bedrock")["signal_pending"] is True
    assert leases.take_pending(lease) == "tunnel-2 is down"


def test_trouble_that_nobody_took_up_reaches_the_next_holder(leases):
    """A run that died, or let go regardless, leaves what it was told; one that ended well leaves nothing."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.leave_signal("bedrock", "tunnel-1 is down")
    assert leases.release(lease, even_if_pending=True)
    second = leases.acquire("bedrock", "run-2", 60, later(1))
    assert second.trouble == "tunnel-1 is down"
    leases.take_pending(second)
    assert leases.release(second)
    assert leases.acquire("bedrock", "run-3", 60, later(2)).trouble is None


def test_a_new_holder_starts_without_the_old_ones_signal(leases):
    """It looks at everything anyway."""
    leases.acquire("bedrock", "run-1", 60, NOON)
    leases.leave_signal("bedrock")
    second = leases.acquire("bedrock", "run-2", 60, later(63))
    assert "signal_pending" not in leases.current("bedrock")
    assert leases.release(second)


def test_a_release_that_a_signal_keeps_says_so_to_its_holder_alone(leases):
    """The holder that was retried under a newer token has let go; whoever lost the link has as well."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    again = leases.acquire("bedrock", "run-1", 60, later(1))
    leases.leave_signal("bedrock")
    assert leases.release(first), "not its own any more"
    assert not leases.release(again)
    assert leases.release(Lease("bedrock", "run-2", again.token, later(60))), "never its own"


def test_links_are_leased_apart(leases):
    """A run that holds one link is in nobody's way at another."""
    ours = leases.acquire("bedrock", "run-1", 60, NOON)
    theirs = leases.acquire("other", "run-2", 60, NOON)
    assert (ours.token, theirs.token) == (1, 1)
    assert leases.current("bedrock")["holder"] == "run-1"
    assert leases.current("other")["holder"] == "run-2"
    assert leases.current("third") == {}


def test_the_lease_is_where_every_version_looks_for_it(leases, session):
    """A key that changed would let two versions of Twinspan act on one link."""
    leases.acquire("bedrock", "run-1", 60, NOON)
    [item] = session.client("dynamodb").scan(TableName=TABLE)["Items"]
    assert (item["pk"]["S"], item["sk"]["S"]) == ("LINK#bedrock", "LEASE")


def test_the_lease_is_read_as_it_is_now(leases, session):
    """A read of yesterday's holder could let two act."""
    asked = []
    session.client("dynamodb").meta.events.register(
        "provide-client-params.dynamodb.GetItem", lambda params, **_: asked.append(params)
    )
    leases.current("bedrock")
    assert [params["ConsistentRead"] for params in asked] == [True]


def test_a_table_that_is_not_there_is_told_by_operation(session):
    """An operator reads which call failed."""
    leases = LeaseStore(session, "no-such-table")
    with pytest.raises(TwinspanError, match="dynamodb:GetItem"):
        leases.current("bedrock")
    with pytest.raises(TwinspanError, match="dynamodb:UpdateItem"):
        leases.acquire("bedrock", "run-1", 60, NOON)
    with pytest.raises(TwinspanError, match="dynamodb:UpdateItem"):
        leases.leave_signal("bedrock")
