"""The workflow as it runs: real definition, real handlers, one process per function.

Marked `proof` is what `tests/simulation` and the crash matrix hold as well, within one process.
"""

import json
import time

import pytest

from infra.local.lambda_runtime import FaultKind
from tests.workflows.conftest import EXECUTION_LIMIT_SECONDS, POLL_SECONDS, REPORT, SWEEP

pytestmark = pytest.mark.slow


def test_a_manual_failover_publishes_the_next_generation_and_is_verified(link):
    """An operator's intent moves traffic, with both proofs and a verification in the journal."""
    generation, _ = link.published
    done = link.intent("failover", to="tunnel-2", reason="maintenance")
    assert done.status == "SUCCEEDED"
    assert link.published == (generation + 1, "tunnel-2")
    kinds = [entry.kind for entry in link.entries(execution=done.name)]
    assert kinds == ["signal", "decided", "planned", "probed", "published", "verified", "outcome"]
    assert link.lease_holder is None


def test_a_dead_tunnel_is_left_on_the_next_sweep(link):
    """The sweep alone is enough: no event is needed."""
    link.environment.faults.cut("tunnel-1")
    done = link.run(SWEEP)
    assert done.status == "SUCCEEDED"
    assert link.config["active_path"] == "tunnel-2"
    assert link.entries("outcome")[-1].data["outcome"] == "switched"


def test_a_healthy_sweep_writes_nothing_to_the_journal(link):
    """Looking at a healthy link leaves no trace but its memory."""
    before = len(link.entries())
    done = link.run(SWEEP)
    assert done.status == "SUCCEEDED"
    assert len(link.entries()) == before


def test_a_dry_run_shows_its_plan_and_touches_nothing(link):
    """A dry run ends before anything is written to routes or config."""
    before = link.published
    done = link.intent("failover", to="tunnel-2", dry_run=True)
    assert done.status == "SUCCEEDED"
    assert link.published == before
    assert link.state.open_plan("bedrock") is None
    assert "tunnel-1 → tunnel-2" in link.entries("planned", done.name)[0].data["effects"][0]


@pytest.mark.parametrize(
    ("document", "error", "field"),
    [
        ({"intent": "failover", "link_id": "bedrock", "to": "tunnel-9"}, "InvalidIntent", "to:"),
        ({"intent": "failover", "link_id": "elsewhere"}, "UnknownLink", "link_id:"),
        ({"intent": "explode", "link_id": "bedrock"}, "InvalidIntent", "intent:"),
        ({"what": "is this"}, "InvalidEvent", "source:"),
        ({"source": "a.b", "detail-type": "C", "detail": {}}, "InvalidEvent", "detail-type:"),
    ],
)
def test_bad_input_is_rejected_by_name_recorded_and_changes_nothing(link, document, error, field):
    """The execution fails with the error's name; the journal says which field and why."""
    config, tables = link.published, link.route_tables()
    done = link.run(document)
    assert (done.status, done.error) == ("FAILED", error)
    entry = link.entries("rejected", done.name)[0]
    assert field in entry.data["cause"]
    assert (link.published, link.route_tables()) == (config, tables)
    assert link.lease_holder is None


def test_a_malformed_policy_stops_a_run_by_name(link):
    """A policy that cannot be read lets nothing happen."""
    link.client("ssm").put_parameter(
        Name="/twinspan/bedrock/policy",
        Value=json.dumps({"hold_down_secs": 1}),
        Type="String",
        Overwrite=True,
    )
    before = link.published
    done = link.intent("failover", to="tunnel-2")
    assert (done.status, done.error) == ("FAILED", "InvalidPolicy")
    assert "hold_down_secs" in (done.cause or "")
    assert link.published == before


def test_a_foreign_routing_config_is_refused_by_name(link):
    """Something else in the parameter is not overwritten blindly."""
    ssm, good = link.client("ssm"), link.config
    name = "/twinspan/bedrock/routing-config"
    ssm.put_parameter(Name=name, Value='{"generation": "?"}', Type="String", Overwrite=True)
    done = link.intent("failover", to="tunnel-2")
    kept = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    ssm.put_parameter(Name=name, Value=json.dumps(good), Type="String", Overwrite=True)
    assert done.status == "FAILED"
    assert kept == '{"generation": "?"}'
    assert "InvalidPublishedConfig" in link.entries("outcome", done.name)[0].data["error"]


def test_a_signal_that_finds_the_lease_taken_is_left_with_the_holder(link):
    """Two runs never act at once, and the second one's signal is not lost."""
    from datetime import UTC, datetime

    lease = link.leases.acquire("bedrock", "another run", 30, datetime.now(UTC))
    done = link.run(REPORT)
    assert done.status == "SUCCEEDED"
    assert done.states[-1] == "NothingToDo"
    assert not link.leases.release(lease), "the pending signal keeps the lease"
    link.leases.take_pending(lease)
    assert link.leases.release(lease)


def test_a_sweep_that_finds_the_lease_taken_leaves_nothing(link):
    """Routine looks do not keep a slow run going round for ever."""
    from datetime import UTC, datetime

    lease = link.leases.acquire("bedrock", "another run", 30, datetime.now(UTC))
    assert link.run(SWEEP).states[-1] == "NothingToDo"
    assert link.leases.release(lease)


def test_a_deleted_route_is_put_back_without_moving_traffic(link):
    """Drift alone is repaired in place."""
    before, tables = link.published, link.route_tables()
    link.delete_route(link.return_route(0))
    done = link.run(SWEEP)
    assert done.status == "SUCCEEDED"
    assert "Apply" in done.states
    assert "Publish" not in done.states
    assert (link.published, link.route_tables()) == (before, tables)


@pytest.mark.proof
def test_with_manual_repair_the_model_refuses_a_standby_without_its_return_route(link):
    """The refusal names the table and the destination, and nothing is published."""
    link.set_policy(drift_repair="manual")
    route, before = link.return_route(1), link.published
    link.delete_route(route)
    link.environment.faults.cut("tunnel-1")
    done = link.run(SWEEP)
    link.client("ec2", "commercial").create_route(
        RouteTableId=route["table_id"],
        DestinationCidrBlock=route["destination"],
        NetworkInterfaceId=route["target"],
    )
    assert (done.status, done.error) == ("FAILED", "Escalated")
    said = " ".join(link.entries("refused", done.name)[0].data["violations"])
    assert route["table_id"] in said
    assert route["destination"] in said
    assert link.published == before


def test_a_switch_that_callers_do_not_confirm_is_rolled_back(link):
    """When verification fails, traffic goes back where it was, under a newer generation."""
    generation, path = link.published
    link.fail_next("proxy", FaultKind.RAISE, times=2)
    done = link.intent("failover", to="tunnel-2")
    assert (done.status, done.error) == ("FAILED", "RolledBack")
    assert link.published == (generation + 2, path)
    assert link.state.open_plan("bedrock") is None
    assert link.lease_holder is None


@pytest.mark.parametrize("function", ["publish"])
def test_a_step_that_dies_leaves_the_link_wholly_old_or_wholly_new(link, function):
    """When a step's process is killed after its work, config, plan and lease end consistent.

    The crash matrix goes through all states and faults; this is the one that matters most.
    """
    before = link.published
    link.fail_next(function, FaultKind.KILL_AFTER)
    link.intent("failover", to="tunnel-2")
    generation, path = link.published
    assert (generation, path) == before or generation > before[0]
    assert link.state.open_plan("bedrock") is None
    assert link.lease_holder is None
    swept = link.run(SWEEP)
    assert swept.status == "SUCCEEDED", (swept, link.entries(execution=swept.name))


@pytest.mark.proof
def test_a_plan_left_open_by_a_crashed_run_is_settled_first(link):
    """The next run undoes what a dead one had begun."""
    from datetime import UTC, datetime

    from control_plane.domain.changes import Change
    from control_plane.domain.decide import DecisionKind
    from control_plane.domain.plan import Plan
    from control_plane.domain.topology import SideName, TableKind

    route, tables = link.return_route(0), link.route_tables()
    elsewhere = link.return_route(1)["target"]
    lease = link.leases.acquire("bedrock", "a run that dies", 30, datetime.now(UTC))
    change = Change(
        SideName.COMMERCIAL,
        TableKind.VPC,
        route["table_id"],
        route["destination"],
        route["target"],
        elsewhere,
    )
    plan = Plan(
        "bedrock",
        DecisionKind.REPAIR,
        "tunnel-1",
        "tunnel-1",
        "tunnel-1",
        link.config["generation"],
        (change,),
    )
    link.state.save_plan(plan, "a run that dies", lease)
    link.client("ec2", "commercial").replace_route(
        RouteTableId=route["table_id"],
        DestinationCidrBlock=route["destination"],
        NetworkInterfaceId=elsewhere,
    )
    link.leases.release(lease)
    done = link.run(SWEEP)
    assert "Recover" in done.states
    assert link.route_tables() == tables
    assert link.state.open_plan("bedrock") is None


def test_a_rollback_returns_to_what_was_active_at_a_generation(link):
    """An earlier generation's path becomes active again, under a new generation."""
    link.intent("failover", to="tunnel-2")
    over = link.config["generation"]
    link.intent("failback")
    done = link.intent("rollback", to_generation=over)
    assert done.status == "SUCCEEDED"
    assert link.published == (over + 2, "tunnel-2")


def test_a_rollback_to_a_generation_that_never_was_is_refused(link):
    """The journal is asked, and its answer is final."""
    before = link.published
    done = link.intent("rollback", to_generation=100_000)
    assert done.status == "FAILED"
    assert "UnknownGeneration" in link.entries("outcome", done.name)[0].data["error"]
    assert link.published == before


@pytest.mark.proof
def test_a_rollback_to_a_dead_path_changes_nothing(link):
    """An earlier generation is gone back to only if its path is proved like any other."""
    link.intent("failover", to="tunnel-2")
    over = link.config["generation"]
    link.intent("failback")
    before, tables = link.published, link.route_tables()
    link.environment.faults.cut("tunnel-2")
    done = link.intent("rollback", to_generation=over)
    assert (done.status, done.error) == ("FAILED", "Escalated")
    assert (link.published, link.route_tables()) == (before, tables)


@pytest.mark.proof
def test_a_drill_returns_with_a_sweep_and_is_remembered(link):
    """Traffic is away until the drill's end, and the outcome is in the journal and in the memory."""
    link.intent(
        "drill", to="tunnel-2", duration_seconds=1, override=True, reason="alarms lag behind"
    )
    assert link.config["active_path"] == "tunnel-2"
    assert link.state.history("bedrock").drill.confirmed
    until = link.state.history("bedrock").drill.until.timestamp()
    time.sleep(max(0.0, until - time.time()))
    assert link.run(SWEEP).status == "SUCCEEDED"
    assert link.config["active_path"] == "tunnel-1"
    assert link.entries("drill")[-1].data["outcome"] == "passed"
    assert link.state.history("bedrock").drills.last.outcome == "passed"


def test_a_deleted_routing_config_is_put_back_above_every_generation(link):
    """A proxy that has seen the newest one adopts what the next look publishes."""
    link.intent("failover", to="tunnel-2")
    generation, _ = link.published
    link.client("ssm").delete_parameter(Name="/twinspan/bedrock/routing-config")
    assert link.run(SWEEP).status == "SUCCEEDED"
    assert link.published == (generation + 1, "tunnel-2")
    assert link.entries("verified")[-1].data["seen"].endswith(f"generation {generation + 1}")


@pytest.mark.proof
def test_an_overwritten_routing_config_is_restored_on_an_operators_word(link):
    """The restore is proved, probed and verified like any plan."""
    generation, path = link.published
    link.client("ssm").put_parameter(
        Name="/twinspan/bedrock/routing-config", Value="nonsense", Type="String", Overwrite=True
    )
    assert link.run(SWEEP).status == "FAILED"
    done = link.intent("restore", reason="overwritten by mistake")
    assert done.status == "SUCCEEDED"
    now_generation, now_path = link.published
    assert now_generation > generation
    assert now_path == path
    kinds = {entry.kind for entry in link.entries(execution=done.name)}
    assert {"planned", "probed", "published", "verified"} <= kinds


class TestApproval:
    """Policy mode `approve`: a person is asked, and the lease is not held meanwhile."""

    def waiting(self, link):
        link.set_policy(mode="approve")
        link.environment.faults.cut("tunnel-1")
        arn = link.start(SWEEP)
        name = arn.rsplit(":", 1)[-1]
        deadline = time.monotonic() + EXECUTION_LIMIT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            if found := link.state.approval("bedrock", name):
                return arn, found
            assert link.client("stepfunctions").describe_execution(executionArn=arn)["status"] == (
                "RUNNING"
            )
        raise AssertionError("no approval was asked for")

    def test_an_approved_decision_is_carried_out(self, link):
        """After approval the link is observed again, and the same decision is acted upon."""
        arn, question = self.waiting(link)
        assert link.lease_holder is None
        assert link.answer(question["execution"], approved=True)
        assert link.finish(arn).status == "SUCCEEDED"
        assert link.config["active_path"] == "tunnel-2"
        said = {"answer": "approved", "by": "an operator"}
        assert said in [entry.data for entry in link.entries("approval")]

    @pytest.mark.proof
    def test_a_rejected_decision_is_not(self, link):
        """No means no; who said it is journaled, and the question waits no longer."""
        before = link.published
        arn, question = self.waiting(link)
        assert not link.answer(question["execution"], approved=False)
        assert link.state.latest_question("bedrock")["is_answered"]
        assert link.entries("approval")[-1].data == {"answer": "rejected", "by": "an operator"}
        done = link.finish(arn)
        assert done.states[-1] == "NotApproved"
        assert link.published == before
        assert "AwaitApproval" not in link.run(SWEEP).states, "nor is it asked again at once"

    @pytest.mark.proof
    def test_an_approval_holds_for_whichever_run_has_the_link(self, link):
        """The run that asked finds the lease taken and ends; what was approved is carried out all the same."""
        arn, question = self.waiting(link)
        lease = link.leases.acquire("bedrock", "another run", 30, link.now())
        assert link.answer(question["execution"], approved=True)
        assert link.finish(arn).states[-1] == "NothingToDo"
        link.leases.release(lease, even_if_pending=True)
        assert link.config["active_path"] == "tunnel-1"
        assert link.run(SWEEP).status == "SUCCEEDED"
        assert link.config["active_path"] == "tunnel-2"

    def test_no_answer_means_no(self, link):
        """The question ends when the policy says so, and the link is as it was."""
        before = link.published
        link.set_policy(mode="approve", approval_seconds=1)
        link.environment.faults.cut("tunnel-1")
        done = link.run(SWEEP)
        assert (done.status, done.states[-1]) == ("SUCCEEDED", "NotApproved")
        assert link.published == before

    @pytest.mark.proof
    def test_while_one_question_waits_nobody_is_asked_the_same(self, link):
        """Sweeps go on looking without a second question."""
        arn, question = self.waiting(link)
        swept = link.run(SWEEP)
        assert swept.status == "SUCCEEDED"
        assert "AwaitApproval" not in swept.states
        link.client("stepfunctions").send_task_success(
            taskToken=question["task_token"], output="{}"
        )
        assert link.finish(arn).status == "SUCCEEDED"
        assert link.state.latest_question("bedrock") is None


def test_when_a_rollback_fails_the_link_is_held_for_a_person(link):
    """NeedsOperator keeps the lease with its reason until someone resolves it."""
    link.fail_next("proxy", FaultKind.RAISE, times=2)
    link.fail_next("roll-back", FaultKind.RAISE, times=1)
    done = link.intent("failover", to="tunnel-2")
    assert (done.status, done.error) == ("FAILED", "NeedsOperator")
    assert link.leases.current("bedrock")["kept_because"]
    assert link.entries("needs-operator", done.name)
    assert link.run(SWEEP).states[-1] == "NothingToDo"
    assert set(link.state.history("bedrock").quarantines) == {"tunnel-1", "tunnel-2"}
    assert link.resolve()
    assert not link.state.history("bedrock").quarantines
    assert link.entries("resolved")[-1].data["by"] == "an operator"
    assert link.run(SWEEP).status == "SUCCEEDED"
