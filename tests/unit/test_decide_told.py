"""`twinspan explain` and `twinspan policy`: decisions in plain words."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from control_plane.cli import app as application
from control_plane.cli import explain as explaining
from control_plane.cli import policy_commands
from control_plane.domain.decide import Published
from control_plane.domain.health import assess
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import GENESIS, Entry, EntryKind
from control_plane.domain.policy import LatencyLimits, Policy
from control_plane.operations.published import routing_config
from control_plane.overview.telling import in_a_line, tell, timings
from tests.builders import NOON, Link, dead, intent, later, seen, topology


def entries(*written, execution="run-1"):
    """Journal entries of an execution, oldest first."""
    return [
        Entry("bedrock", number, later(number), kind, execution, data, GENESIS)
        for number, (kind, data) in enumerate(written, start=1)
    ]


def decided(decision):
    return (EntryKind.DECIDED, decision.to_dict())


def story(*written):
    return "\n".join(tell(entries(*written)))


class TestTelling:
    """From the journal to sentences."""

    def test_a_failover_is_told_with_its_reasons_its_inputs_and_its_alternative(self):
        """Why it acted, what it had seen, what would have changed its mind."""
        told = story(
            (EntryKind.SIGNAL, {"about": "the periodic sweep"}),
            decided(Link().decide(dead("tunnel-1"), published=Published("tunnel-1", 7))),
        )
        assert "Started because: the periodic sweep." in told
        assert "Decided to move traffic to tunnel-2." in told
        assert "Because tunnel-1 is FAILED: 0 of 2 probes answered" in told
        assert "mode: automatic" in told
        assert "It would have decided otherwise with:" in told
        assert "a passing probe of tunnel-1" in told

    def test_each_stage_is_timed_from_the_first_entry(self):
        """A repeated stage counts to its end."""
        written = [(EntryKind.SIGNAL, {}), (EntryKind.DECIDED, {}), (EntryKind.PROBED, {})]
        found = timings(entries(*written, (EntryKind.DECIDED, {}), (EntryKind.OUTCOME, {})))
        assert found == {"probed": 2.0, "decided": 3.0, "outcome": 4.0}
        assert list(found) == ["probed", "decided", "outcome"]

    def test_doing_nothing_is_told_as_fully_as_doing_something(self):
        """Somebody asks why traffic is still on the standby."""
        told = story(decided(Link(active="tunnel-2").decide()))
        assert "Decided to change nothing." in told
        assert "Not tunnel-1: healthy since 12:00:00Z, not yet for 600 s." in told
        assert "tunnel-1: time: tunnel-1 has been healthy long enough at 12:10:00Z" in told

    def test_an_override_is_told_with_what_it_passed(self):
        """Who insisted, on what, against what."""
        order = intent(to="tunnel-2", override=True, reason="vendor says so")
        told = story(decided(Link().decide(dead("tunnel-2"), intent=order)))
        assert "unnamed operator asked for a failover: vendor says so" in told
        assert "An operator's override was in force, passing: tunnel-2 is FAILED" in told

    def test_every_kind_of_entry_is_told(self):
        """No kind breaks the story, whatever its data lacks."""
        for kind in EntryKind:
            data = {"kind": "NoChange", "reasons": []} if kind is EntryKind.DECIDED else {}
            assert tell(entries((kind, data)))

    @pytest.mark.parametrize(
        ("kind", "data", "said"),
        [
            (EntryKind.SIGNAL, {"about": "an alarm"}, "an alarm"),
            (
                EntryKind.DECIDED,
                {"kind": "NoChange", "path": None, "reasons": ["tunnel-1 is HEALTHY"]},
                "to change nothing: tunnel-1 is HEALTHY",
            ),
            (
                EntryKind.DECIDED,
                {"kind": "Failover", "path": "tunnel-2", "reasons": ["a", "b"], "drill": "begin"},
                "to move traffic to tunnel-2, as a drill: a; b",
            ),
            (EntryKind.PLANNED, {"effects": ["one", "two"]}, "one; two"),
            (EntryKind.REFUSED, {"violations": ["a loop"]}, "a loop"),
            (
                EntryKind.PROBED,
                {"path": "tunnel-2", "answered": 2, "attempts": 2, "required": 2, "failures": []},
                "Probed tunnel-2: 2 of 2 calls answered, so it answers",
            ),
            (EntryKind.OUTCOME, {"outcome": "nothing-to-do"}, "nothing to do"),
            (EntryKind.OUTCOME, {"outcome": "failed", "error": "LeaseLost"}, "failed: LeaseLost"),
            (
                EntryKind.POLICY,
                {"version": 3, "by": "ann", "reason": "quiet", "changes": ["mode: a → b"]},
                "Policy version 3 stored by ann: quiet. mode: a → b",
            ),
        ],
    )
    def test_an_entry_in_a_line_is_words(self, kind, data, said):
        """`twinspan journal show`: no field names, no empty lists, no stray blanks."""
        assert in_a_line(*entries((kind, data))) == said

    def test_every_kind_of_entry_has_a_line(self):
        """Whatever its data lacks."""
        for kind in EntryKind:
            data = {"kind": "NoChange", "reasons": []} if kind is EntryKind.DECIDED else {}
            assert isinstance(in_a_line(*entries((kind, data))), str)

    def test_a_run_is_told_in_the_order_in_which_it_happened(self):
        """From the plan to the outcome."""
        told = tell(
            entries(
                (EntryKind.PLANNED, {"effects": ["active path tunnel-1 → tunnel-2"]}),
                (
                    EntryKind.PROBED,
                    {"path": "tunnel-2", "answered": 2, "attempts": 2, "required": 2},
                ),
                (EntryKind.PUBLISHED, {"generation": 8, "active_path": "tunnel-2"}),
                (EntryKind.VERIFIED, {"seen": "2 calls used tunnel-2"}),
                (EntryKind.ROLLED_BACK, {"cause": "callers saw 503", "routes_put_back": 1}),
                (EntryKind.OUTCOME, {"outcome": "rolled-back", "error": "PublishedUnverified"}),
            )
        )
        said = [line[10:] for line in told]
        assert said == [
            "Planned, and the route model agreed:",
            "  active path tunnel-1 → tunnel-2",
            "Probed tunnel-2: 2 of 2 calls answered, so it answers.",
            "Published generation 8: tunnel-2 is active.",
            "Verified: 2 calls used tunnel-2.",
            "Rolled back, 1 routes put back, because callers saw 503.",
            "Ended: rolled-back.",
            "Error: PublishedUnverified",
        ]


class StoredJournal:
    """A journal that holds these entries."""

    def __init__(self, stored):
        self._stored = stored

    def entries(self, link_id, *, newest_first=False, limit=None):
        chosen = [(entry, entry.hash) for entry in self._stored]
        return chosen[::-1] if newest_first else chosen


def run(*arguments):
    return CliRunner().invoke(application.app, list(arguments))


class TestExplain:
    """The command."""

    @pytest.fixture(autouse=True)
    def _journal(self, monkeypatch):
        first = entries((EntryKind.OUTCOME, {"outcome": "repaired"}), execution="run-1")
        second = entries((EntryKind.OUTCOME, {"outcome": "switched"}), execution="run-2")
        here = SimpleNamespace(journal=StoredJournal([*first, *second]))
        monkeypatch.setattr(explaining, "control", lambda link: here)

    @pytest.mark.parametrize(
        ("arguments", "outcome"),
        [
            (["run-1"], "repaired"),
            (["arn:aws-us-gov:states:us-gov-west-1:1:execution:machine:run-1"], "repaired"),
            ([], "switched"),
            (["last"], "switched"),
        ],
    )
    def test_an_execution_is_found_by_name_by_arn_or_as_the_last(self, arguments, outcome):
        """People copy what the console shows."""
        result = run("explain", *arguments)
        assert result.exit_code == 0
        assert f"Ended: {outcome}." in result.stdout
        assert result.stdout.count("Ended") == 1

    def test_an_execution_without_entries_is_explained_too(self):
        """A routine look that found nothing to do left nothing, and the command says so."""
        result = run("explain", "run-3")
        assert result.exit_code == 1
        assert "leaves none" in result.stderr

    def test_json_holds_the_entries_themselves(self):
        """For programs, the data and not the prose."""
        [entry] = json.loads(run("explain", "run-2", "--json").stdout)["entries"]
        assert (entry["kind"], entry["data"]) == ("outcome", {"outcome": "switched"})


class TestPolicyCheck:
    """The command, on files."""

    def test_every_problem_is_printed_and_the_exit_code_says_bad_input(self, tmp_path):
        """All of them, not only the first."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"hold_down_secs": 1, "mode": "auto"}))
        result = run("policy", "check", str(file))
        assert result.exit_code == 2
        assert "policy.json: 2 problems" in result.stderr
        assert "did you mean hold_down_seconds?" in result.stderr

    def test_paths_are_checked_against_a_topology_where_one_is_given(self, tmp_path):
        """A policy may be valid and still be for another link."""
        policy, link = tmp_path / "policy.json", tmp_path / "topology.json"
        policy.write_text(json.dumps({"path_order": ["tunnel-9"]}))
        link.write_text(topology().model_dump_json())
        assert run("policy", "check", str(policy)).exit_code == 0
        result = run("policy", "check", str(policy), "--topology", str(link))
        assert result.exit_code == 2
        assert "no path 'tunnel-9' on bedrock" in result.stderr

    def test_a_valid_policy_comes_with_advice(self, tmp_path):
        """Valid is not wise."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"mode": "paused"}))
        result = run("policy", "check", str(file))
        assert result.exit_code == 0
        assert "policy.json: a valid policy" in result.stdout
        assert "advice: mode paused has no end" in result.stdout


class TestPolicyShow:
    """What the policy would do now."""

    @pytest.fixture
    def now(self, monkeypatch):
        """A link whose tunnel-1 was found dead at noon, a minute ago."""
        looks = [dead("tunnel-1"), seen("tunnel-2")]
        verdicts = {look.name: assess(look, LatencyLimits()) for look in looks}
        history = LinkHistory().after_look(verdicts, Policy(), NOON)
        published = routing_config(topology(), Policy(), "tunnel-1", 7, "run-1", "", NOON)
        here = SimpleNamespace(
            documents=SimpleNamespace(
                topology=lambda link: topology(),
                policy=lambda link, topo: Policy(mode="approve"),
                routing_config=lambda link: published,
            ),
            state=SimpleNamespace(history=lambda link: history),
        )

        class Clock:
            moment = later(60)

            @classmethod
            def now(cls, zone):
                return cls.moment

        monkeypatch.setattr(policy_commands, "control", lambda link: here)
        monkeypatch.setattr(policy_commands, "datetime", Clock)
        return Clock

    def test_it_says_what_would_be_done_and_why(self, now):
        """From the last look, without touching anything."""
        told = run("policy", "show").stdout
        assert "policy of bedrock, version 1, mode approve" in told
        assert "now: Failover to tunnel-2: tunnel-1 is FAILED" in told
        assert "it would wait for an approval" in told

    def test_a_look_that_is_too_old_says_nothing(self, now):
        """What was true ten minutes ago is no ground to foretell anything."""
        now.moment = later(600)
        told = run("policy", "show").stdout
        assert "now: NoChange" in told
        assert "last seen FAILED 600 s ago, which is too long" in told

    def test_a_policy_can_be_tried_before_it_is_adopted(self, now, tmp_path):
        """The file's policy, on the link as it is."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"mode": "paused"}))
        told = run("policy", "show", "--file", str(file)).stdout
        assert "the policy is paused; would have chosen Failover to tunnel-2" in told

    def test_json_holds_the_policy_and_the_decision(self, now):
        """For programs."""
        answer = json.loads(run("policy", "show", "--json").stdout)
        assert answer["policy"]["mode"] == "approve"
        assert (answer["now"]["kind"], answer["now"]["path"]) == ("Failover", "tunnel-2")
