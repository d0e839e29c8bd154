"""What the operator's policy and intents make of a decision."""

import pytest

from control_plane.domain.decide import DecisionKind, Published
from control_plane.domain.observation import PendingMaintenance
from control_plane.domain.policy import (
    ApprovalRules,
    ChangeWindow,
    Failback,
    Pause,
    Policy,
    Quarantine,
)
from control_plane.domain.situation import ProxyRules
from tests.builders import (
    Link,
    dead,
    intent,
    later,
    probe,
    route,
    seen,
)


class TestPublishedState:
    """What proxies follow at the moment of the decision."""

    def test_nothing_is_done_when_something_else_was_published_meanwhile(self):
        """A decision about a link that is no longer as it was looked at is none."""
        decision = Link().decide(dead("tunnel-1"), published=Published("tunnel-2", 8))
        assert decision.kind is DecisionKind.NO_CHANGE
        assert "changed since the link was looked at" in decision.describe()
        assert decision.would_change == ("a look at the link as it is now",)

    def test_a_config_that_no_longer_fits_the_policy_is_published_anew(self):
        """A quarantine that proxies do not know of, and one that they still know of: traffic stays, they are told."""
        until = later(60)
        policy = Policy(quarantine=(Quarantine(path="tunnel-2", reason="x", until=until),))
        decision = Link(policy).decide(published=Published("tunnel-1", 7))
        assert (decision.kind, decision.path) == (DecisionKind.PUBLISH, "tunnel-1")
        assert decision.reasons == ("the published config does not yet exclude tunnel-2",)
        old = Published("tunnel-1", 7, excluded=frozenset({"tunnel-2"}))
        assert Link().decide(published=old).reasons == (
            "the published config still excludes tunnel-2",
        )

    @pytest.mark.parametrize(
        ("policy", "reason"),
        [
            ({"data_classes": {"default": ("vpn", "internet")}}, "other routing methods"),
            ({"data_classes": {"default": ("vpn",), "more": ("vpn",)}}, "other routing methods"),
            ({"allowed_models": ("anthropic.*",)}, "other models"),
            ({"resend": "never"}, "says allow of sending a call again"),
        ],
    )
    def test_what_binds_proxies_is_published_when_it_changes(self, policy, reason):
        """Data classes, models and resending of the policy reach the proxies without traffic being moved."""
        published = Published("tunnel-1", 7, rules=ProxyRules.of(Policy()))
        assert Link(Policy()).decide(published=published).kind is DecisionKind.NO_CHANGE
        for mode in ("automatic", "approve"):
            decision = Link(Policy(mode=mode, **policy)).decide(published=published)
            assert decision.kind is DecisionKind.PUBLISH
            assert reason in decision.describe()
            assert not decision.needs_approval
        told = Published("tunnel-1", 8, rules=ProxyRules.of(Policy(**policy)))
        assert Link(Policy(**policy)).decide(published=told).kind is DecisionKind.NO_CHANGE

    def test_an_outage_comes_before_a_publication(self):
        """What moves traffic publishes the policy as well; and where traffic is not well, that comes first."""
        published = Published("tunnel-1", 7, rules=ProxyRules.of(Policy(resend="never")))
        decision = Link().decide(dead("tunnel-1"), published=published)
        assert decision.kind is DecisionKind.FAILOVER
        assert "the published config says never of sending a call again" in decision.warnings


class TestNoPolicy:
    """No document is no permission."""

    def test_without_a_policy_the_decision_is_made_and_nothing_is_touched(self):
        """The reader learns what would have been done, and what is missing."""
        decision = Link(Policy.absent()).decide(dead("tunnel-1"))
        assert (decision.kind, decision.touches_nothing) == (DecisionKind.FAILOVER, True)
        assert "no policy is stored for this link: nothing is touched" in decision.warnings
        assert "a stored policy" in decision.would_change


class TestPause:
    """A stop that ends by itself."""

    policy = Policy(pause=Pause(reason="release night", until=later(60)))

    def test_a_pause_names_its_reason_and_its_end_and_ends(self):
        """Afterwards everything goes on as before."""
        link = Link(self.policy)
        paused = link.decide(dead("tunnel-1"))
        assert paused.kind is DecisionKind.NO_CHANGE
        assert "2026-03-01 12:01:00Z (release night)" in paused.describe()
        link.pass_time(60)
        assert link.decide(dead("tunnel-1")).kind is DecisionKind.FAILOVER

    def test_an_override_passes_a_pause(self):
        """The person who paused it can still act."""
        order = intent(to="tunnel-2", override=True, reason="now")
        decision = Link(self.policy).decide(intent=order)
        assert decision.kind is DecisionKind.FAILOVER


class TestApprovalRules:
    """Which actions wait for a person."""

    def test_a_rule_may_ask_even_in_automatic_mode(self):
        """Failover is automatic, repair of routes is not."""
        link = Link(Policy(approval=ApprovalRules(always=("repair",))))
        broken = seen("tunnel-2", routes=(route("tunnel-2", None),), probe=probe("tunnel-2", False))
        assert link.decide(broken).needs_approval
        assert not link.decide(dead("tunnel-1")).needs_approval

    def test_approve_mode_may_leave_some_actions_free(self):
        """An operator may want to be asked about going home, and not about escaping."""
        rules = ApprovalRules(in_approve_mode=("failback",))
        link = Link(Policy(mode="approve", approval=rules))
        assert not link.decide(dead("tunnel-1")).needs_approval

    def test_a_routing_method_may_need_a_person_every_time(self):
        """Traffic is moved there when somebody says so."""
        link = Link(Policy(approval=ApprovalRules(routing_methods=("vpn",))))
        assert link.decide(dead("tunnel-1")).needs_approval

    def test_a_look_asked_for_by_hand_is_no_approval(self):
        """Reconcile decides as a sweep would, so it asks as a sweep would."""
        link = Link(Policy(mode="approve"))
        assert link.decide(dead("tunnel-1"), intent=intent("reconcile")).needs_approval


class TestMaintenance:
    """AWS is about to replace a tunnel of the target."""

    @staticmethod
    def replaced(name, seconds):
        pending = PendingMaintenance(outside_ip="203.0.113.0", due_at=later(seconds))
        return seen(name, maintenance=(pending,))

    @pytest.mark.parametrize(
        ("due_in", "returns"), [(3601, True), (3599, False), (-3600, False), (-14401, True)]
    )
    def test_traffic_does_not_return_around_the_date_of_a_replacement(self, due_in, returns):
        """An hour before it until four hours after it; a date long past bars nothing."""
        link = Link(Policy(failback=Failback(stable_seconds=0)), active="tunnel-2")
        decision = link.decide(self.replaced("tunnel-1", due_in))
        assert (decision.kind is DecisionKind.FAILBACK) is returns

    def test_an_escape_does_not_wait_for_maintenance_to_be_over(self):
        """A tunnel that may go down in an hour is better than one that is down."""
        decision = Link().decide(dead("tunnel-1"), self.replaced("tunnel-2", 600))
        assert decision.path == "tunnel-2"
        assert any("maintenance is pending" in warning for warning in decision.warnings)


class TestChangeWindow:
    """What can wait, waits for its hour."""

    policy = Policy(
        failback=Failback(
            stable_seconds=0,
            change_windows=(ChangeWindow(opens="14:00", closes="15:00"),),
        )
    )

    def test_going_home_waits_for_a_window(self):
        """And says when the next one opens."""
        link = Link(self.policy, active="tunnel-2")
        decision = link.decide()
        assert decision.kind is DecisionKind.NO_CHANGE
        assert (
            "tunnel-1: time: a change window opens at 2026-03-01 14:00:00Z" in decision.would_change
        )
        link.pass_time(7200)
        assert link.decide().kind is DecisionKind.FAILBACK

    def test_an_escape_does_not(self):
        """An outage keeps no hours."""
        assert Link(self.policy).decide(dead("tunnel-1")).path == "tunnel-2"


class TestOverride:
    """What an operator may pass, and what nobody may."""

    policy = Policy(
        quarantine=(Quarantine(path="tunnel-2", reason="carrier work", until=later(60)),)
    )

    def test_a_contradiction_is_refused_and_says_how_to_insist(self):
        """Without an override the policy stands."""
        decision = Link(self.policy).decide(intent=intent(to="tunnel-2"))
        assert decision.kind is DecisionKind.ESCALATE
        assert "the same intent with override, and a reason" in decision.would_change

    def test_every_limit_that_was_passed_is_recorded(self):
        """Not only that there was an override, but over what."""
        order = intent(to="tunnel-2", override=True, reason="vendor says so")
        decision = Link(self.policy).decide(dead("tunnel-2"), intent=order)
        assert decision.kind is DecisionKind.FAILOVER
        assert len(decision.overrode) == 2
        assert "carrier work" in decision.overrode[0]
        assert "tunnel-2 is FAILED" in decision.overrode[1]

    def test_an_override_does_not_open_a_routing_method(self):
        """Which way data may go is decided in the policy, by whoever may change the policy."""
        policy = Policy(data_classes={"default": ()})
        order = intent(to="tunnel-2", override=True, reason="hurry")
        decision = Link(policy).decide(intent=order)
        assert decision.kind is DecisionKind.ESCALATE
        assert "lets no data class use vpn" in decision.describe()

    def test_a_path_that_this_run_refused_is_not_tried_again(self):
        """A plan that failed its proof a moment ago fails it again."""
        order = intent(to="tunnel-2", override=True, reason="hurry")
        decision = Link().decide(intent=order, refused={"tunnel-2": "probes fail"})
        assert decision.kind is DecisionKind.ESCALATE
