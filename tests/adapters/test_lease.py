"""The lease and its fencing token."""

import re

import pytest

from control_plane.adapters.items import from_item, link_key, to_item
from control_plane.adapters.lease import Lease, LeaseStore
from control_plane.errors import AwsRefused, LeaseLost
from tests.adapters.conftest import TABLE, create_state_table
from tests.builders import NOON, later


@pytest.fixture
def leases(cloud):
    table = cloud.session.client("dynamodb")
    create_state_table(table)
    yield LeaseStore(cloud.session, TABLE)
    table.delete_table(TableName=TABLE)


@pytest.fixture
def sent(cloud):
    """What is sent to DynamoDB, in order: (operation, parameters)."""
    events, calls = cloud.session.client("dynamodb").meta.events, []

    def note(params, model, **_):
        calls.append((model.name, params))

    events.register("provide-client-params.dynamodb", note)
    yield calls
    events.unregister("provide-client-params.dynamodb", note)


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


def test_a_lease_says_whose_it_is_and_until_when(leases):
    """All of it: link, holder, the first token there is, the end in UTC, and no trouble where none was left."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    assert lease == Lease("bedrock", "run-1", 1, later(60), None)
    assert leases.renew(lease, 90, later(30)) == Lease("bedrock", "run-1", 1, later(120), None)


def test_a_renewed_lease_is_held_until_its_new_end(leases):
    """Others wait for as long as the holder was told that it has."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.renew(lease, 90, later(30))
    assert leases.acquire("bedrock", "run-2", 60, later(119)) is None
    assert leases.acquire("bedrock", "run-2", 60, later(123))


def test_a_lease_can_be_renewed_up_to_its_last_moment(leases):
    """The end that a holder was told is still its own."""
    lease = leases.acquire("bedrock", "run-1", 60, NOON)
    assert leases.renew(lease, 60, later(60)).expires_at == later(120)


def test_two_links_have_leases_of_their_own(leases):
    """A run on one link keeps nobody from another."""
    first = leases.acquire("bedrock", "run-1", 60, NOON)
    second = leases.acquire("titan", "run-2", 60, NOON)
    assert (first.token, second.token) == (1, 1)
    leases.keep(second, "a route could not be put back")
    assert leases.renew(first, 60, later(1))
    assert leases.release(first)
    assert leases.current("titan")["holder"] == "run-2"
    assert leases.current("titan")["kept_because"] == "a route could not be put back"
    assert leases.leave_signal("titan")
    assert not leases.leave_signal("bedrock")


def test_a_lease_is_where_the_rest_of_the_state_of_its_link_is(leases, cloud):
    """A sweep reads it by its key, together with the history and the plan."""
    leases.acquire("bedrock", "run-1", 60, NOON)
    key = to_item(link_key("bedrock", "LEASE"))
    item = cloud.session.client("dynamodb").get_item(TableName=TABLE, Key=key)["Item"]
    assert from_item(item)["holder"] == "run-1"


def test_a_link_that_was_never_acted_on_has_no_lease_to_tell_of(leases):
    """Nothing is not an error."""
    assert leases.current("bedrock") == {}
    assert not leases.resolve("bedrock")


def test_a_retried_step_begins_without_what_its_earlier_self_left(leases):
    """A mark and a reason to keep the lease were for the holder that has been replaced."""
    earlier = leases.acquire("bedrock", "run-1", 60, NOON)
    leases.leave_signal("bedrock")
    leases.keep(earlier, "a route could not be put back")
    again = leases.acquire("bedrock", "run-1", 60, later(1))
    assert again.token == earlier.token + 1
    assert set(leases.current("bedrock")) == {"pk", "sk", "holder", "expires_ms", "token"}
    assert leases.release(again)


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


class TestWhoeverLostTheLease:
    """Every write of a holder that lost it is refused, naming the link and the token that is worthless."""

    @pytest.mark.parametrize(
        "act",
        [
            lambda leases, lease: leases.renew(lease, 60, later(64)),
            lambda leases, lease: leases.take_pending(lease),
            lambda leases, lease: leases.keep(lease, "a route could not be put back"),
        ],
        ids=["renew", "take_pending", "keep"],
    )
    def test_is_told_which(self, leases, act):
        """And the new holder's lease is as it was."""
        first = leases.acquire("bedrock", "run-1", 60, NOON)
        second = leases.acquire("bedrock", "run-2", 60, later(63))
        leases.leave_signal("bedrock")
        before = leases.current("bedrock")
        with pytest.raises(LeaseLost) as lost:
            act(leases, first)
        assert str(lost.value) == str(LeaseLost("bedrock", first.token))
        assert leases.current("bedrock") == before
        assert second.token == first.token + 1


class TestTrouble:
    """What a signal told of reaches whoever looks next, and is forgotten once nobody has to."""

    def test_reaches_the_holder_that_takes_the_mark(self, leases):
        """It is what ends a drill that is going on; only the newest is kept."""
        lease = leases.acquire("bedrock", "run-1", 60, NOON)
        leases.leave_signal("bedrock", "an alarm")
        leases.leave_signal("bedrock", "another alarm")
        assert leases.current("bedrock")["signal_pending"] is True
        assert leases.take_pending(lease) == "another alarm"

    def test_a_signal_that_tells_of_none_takes_none_away(self, leases):
        """What was left before is still news to the holder."""
        lease = leases.acquire("bedrock", "run-1", 60, NOON)
        assert leases.take_pending(lease) is None
        leases.leave_signal("bedrock", "an alarm")
        leases.leave_signal("bedrock")
        assert leases.take_pending(lease) == "an alarm"

    def test_outlives_a_holder_that_never_took_it_up(self, leases):
        """Whoever takes over finds it in its lease."""
        leases.acquire("bedrock", "run-1", 60, NOON)
        leases.leave_signal("bedrock", "an alarm")
        assert leases.acquire("bedrock", "run-2", 60, later(63)).trouble == "an alarm"

    def test_is_forgotten_with_a_release_that_nothing_kept_back(self, leases):
        """The holder has looked since: it is not news to the next."""
        lease = leases.acquire("bedrock", "run-1", 60, NOON)
        leases.leave_signal("bedrock", "an alarm")
        leases.take_pending(lease)
        assert leases.release(lease)
        assert leases.acquire("bedrock", "run-2", 60, later(1)).trouble is None

    def test_is_left_to_the_next_by_a_holder_that_gives_up(self, leases):
        """Whoever lets go although a signal waits hands its trouble on."""
        lease = leases.acquire("bedrock", "run-1", 60, NOON)
        leases.leave_signal("bedrock", "an alarm")
        assert leases.release(lease, even_if_pending=True)
        following = leases.acquire("bedrock", "run-2", 60, later(1))
        assert following.trouble == "an alarm"
        assert leases.release(following)


class TestWhatIsSent:
    """AWS is stricter than its emulator: what it is asked is looked at, too."""

    def test_reads_see_every_write_before_them(self, leases, sent):
        """An eventually consistent read could miss the signal that was left a moment ago."""
        leases.current("bedrock")
        [(operation, parameters)] = sent
        assert operation == "GetItem"
        assert parameters["ConsistentRead"] is True

    def test_keywords_are_spelt_as_they_are_documented(self, leases, sent):
        """DynamoDB documents its clauses and logical operators in capitals, and promises no other spelling."""
        lease = leases.acquire("bedrock", "run-1", 60, NOON)
        leases.renew(lease, 60, later(1))
        leases.leave_signal("bedrock", "an alarm")
        leases.take_pending(lease)
        leases.keep(lease, "a route could not be put back")
        leases.resolve("bedrock")
        leases.release(lease)
        leases.release(lease, even_if_pending=True)
        expressions = [
            parameters[name]
            for operation, parameters in sent
            if operation == "UpdateItem"
            for name in ("UpdateExpression", "ConditionExpression")
        ]
        assert len(expressions) == 16
        words = {
            word for text in expressions for word in re.findall(r"(?<![:#\w])[A-Za-z_]+", text)
        }
        keywords = {word for word in words if word.upper() in {"SET", "REMOVE", "AND", "OR"}}
        assert keywords == {"SET", "REMOVE", "AND", "OR"}


class TestFailuresOfAws:
    """Each names the call that failed, so that a permission that is missing can be found."""

    @pytest.mark.parametrize(
        ("act", "operation"),
        [
            (lambda store: store.acquire("bedrock", "run-1", 60, NOON), "dynamodb:UpdateItem"),
            (lambda store: store.leave_signal("bedrock"), "dynamodb:UpdateItem"),
            (lambda store: store.current("bedrock"), "dynamodb:GetItem"),
        ],
        ids=["acquire", "leave_signal", "current"],
    )
    def test_name_the_operation(self, cloud, act, operation):
        """Here, because the table is not there."""
        with pytest.raises(AwsRefused) as refused:
            act(LeaseStore(cloud.session, "no-such-table"))
        assert refused.value.operation == operation
