"""The command line against a link in moto: what is shown, asked, stored and journaled."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from control_plane.adapters.ssm import LinkDocuments
from control_plane.cli.app import app
from control_plane.cli.asking import duration
from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Mode, Policy
from control_plane.domain.policy_change import differences
from control_plane.errors import StalePolicy
from control_plane.wiring import Control
from tests.adapters.conftest import store
from tests.builders import NOON
from tests.events.reading import LINKS

LINK = LINKS["bedrock"]


def run(*arguments: str, code: int = 0, answer: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(arguments), input=answer)
    assert result.exit_code == code, result.output
    return result


def policy_of(link: Control) -> Policy:
    return link.documents.policy("bedrock", LINK)


def journaled(link: Control) -> list[dict[str, Any]]:
    return [entry.data for entry in link.journal.of_kind("bedrock", EntryKind.POLICY)]


class TestAsking:
    """Nothing changes that nobody agreed to."""

    def test_without_an_answer_nothing_changes(self, link):
        """A script that forgot --yes is told of it, with the code of bad input."""
        result = run("pause", "--for", "2h", "--reason", "a test", code=2)
        assert "--yes" in result.stderr
        assert policy_of(link).pause is None
        assert journaled(link) == []

    def test_a_no_changes_nothing(self, link):
        """Having seen what would change, a person may think better of it."""
        result = run("pause", "--for", "2h", "--reason", "a test", code=1, answer="n\n")
        assert "pause.reason: none → a test" in result.stdout
        assert policy_of(link).pause is None

    def test_a_yes_changes_it(self, link):
        """The answer can come from a pipe as well."""
        run("pause", "--for", "2h", "--reason", "a test", answer="y\n")
        assert policy_of(link).pause is not None

    def test_a_dry_run_shows_the_same_and_asks_nobody(self, link):
        """What would be stored, and nothing stored."""
        result = run("pause", "--for", "2h", "--reason", "a test", "--dry-run", "--json")
        document = json.loads(result.stdout)
        assert document["stored"] is False
        assert [line.partition(":")[0] for line in document["changes"]] == [
            "pause.reason",
            "pause.until",
        ]
        assert policy_of(link).pause is None


class TestHolding:
    """Pause and quarantine: in force at once, under a new version, and journaled."""

    def test_a_pause_ends_by_itself_and_before_its_time_by_resume(self, link):
        """Who, why and what are in the journal."""
        run("pause", "--for", "1h30m", "--reason", "maintenance", "--yes")
        paused = policy_of(link)
        assert paused.version == 2
        assert paused.pause.reason == "maintenance"
        left = paused.pause.until - link.now()
        assert timedelta(minutes=89) < left <= timedelta(minutes=90)
        run("resume", "--reason", "done", "--yes")
        assert policy_of(link).pause is None
        assert [entry["reason"] for entry in journaled(link)] == ["done", "maintenance"]
        assert [entry["version"] for entry in journaled(link)] == [3, 2]

    def test_there_is_nothing_to_resume(self, link):
        """The answer is no, and no version is spent on it."""
        run("resume", "--yes", code=1)
        assert policy_of(link).version == 1

    def test_a_mode_that_is_paused_has_no_end_to_bring_forward(self, link):
        """Which mode is to follow, only a policy can say."""
        store(link, "policy", Policy(mode=Mode.PAUSED).model_dump_json())
        assert "mode: is paused" in run("resume", "--yes", code=2).stderr

    def test_a_path_is_quarantined_and_let_go(self, link):
        """A second quarantine takes the first one's place."""
        run("quarantine", "tunnel-1", "--for", "1d", "--reason", "unwell", "--yes")
        run("quarantine", "tunnel-1", "--for", "2h", "--reason", "still unwell", "--yes")
        [quarantine] = policy_of(link).quarantine
        assert (quarantine.path, quarantine.reason) == ("tunnel-1", "still unwell")
        run("quarantine", "tunnel-1", "--lift", "--yes")
        assert policy_of(link).quarantine == ()

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("quarantine", "tunnel-9", "--for", "1d", "--reason", "x"), "tunnel-9"),
            (("quarantine", "tunnel-1", "--reason", "x"), "--for"),
            (("quarantine", "tunnel-1", "--for", "1d"), "--reason"),
            (("pause", "--for", "soon", "--reason", "x"), "soon"),
            (("pause", "--for", "1h", "--reason", ""), "reason"),
        ],
    )
    def test_bad_input_is_named_and_changes_nothing(self, link, arguments, named):
        """Exit code 2, the field, and the policy as it was."""
        assert named in run(*arguments, "--yes", code=2).stderr
        assert policy_of(link) == Policy.from_json("{}")

    def test_a_link_without_a_policy_cannot_be_paused(self, link):
        """It does nothing by itself as it is."""
        link.session.client("ssm").delete_parameter(Name="/twinspan/bedrock/policy")
        message = run("pause", "--for", "1h", "--reason", "x", "--yes", code=2).stderr
        assert "policy set" in message


class TestPolicy:
    """A policy from a file."""

    def test_it_is_shown_as_a_difference_and_stored_under_the_next_version(self, link, tmp_path):
        """Nested fields are named by their path."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"hold_down_seconds": 60, "failback": {"stable_seconds": 30}}))
        shown = run("policy", "diff", str(file), code=1).stdout
        assert "hold_down_seconds: 300.0 → 60.0" in shown
        assert "failback.stable_seconds: 600.0 → 30.0" in shown
        run("policy", "set", str(file), "--reason", "quicker", "--yes")
        stored = policy_of(link)
        assert (stored.hold_down_seconds, stored.version) == (60, 2)
        assert run("policy", "diff", str(file)).stdout == "no difference\n"

    def test_a_file_that_is_no_policy_is_explained_and_not_stored(self, link, tmp_path):
        """Field by field."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"hold_down_seconds": -1, "path_order": ["tunnel-9"]}))
        message = run("policy", "set", str(file), "--yes", code=2).stderr
        assert "hold_down_seconds" in message
        assert policy_of(link).version == 1

    def test_a_change_made_meanwhile_is_not_written_over(self, link, monkeypatch):
        """Two people at once: the second is told, and the first one's policy stands."""
        theirs = Policy(hold_down_seconds=10, version=2).model_dump_json()
        read = LinkDocuments.policy_as_stored

        def then_somebody_else_writes(self, link_id, topology):
            found = read(self, link_id, topology)
            store(link, "policy", theirs)
            return found

        monkeypatch.setattr(LinkDocuments, "policy_as_stored", then_somebody_else_writes)
        message = run("pause", "--for", "1h", "--reason", "x", "--yes", code=2).stderr
        assert message.startswith(StalePolicy.__name__)
        assert policy_of(link).hold_down_seconds == 10
        assert journaled(link) == []

    def test_a_difference_is_none_where_only_the_version_differs(self):
        """A version says which, not what."""
        assert differences(Policy(version=1), Policy(version=7)) == ()


class TestJournal:
    """Taking the journal along."""

    def write(self, link, number=3):
        for count in range(number):
            link.journal.append("bedrock", EntryKind.SIGNAL, "run-1", {"about": str(count)}, NOON)

    def test_it_is_exported_whole_with_its_hashes(self, link, tmp_path):
        """An auditor can check the chain from the file alone."""
        self.write(link)
        file = tmp_path / "journal.jsonl"
        run("journal", "export", "--output", str(file))
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["data"]["about"] for line in lines] == ["0", "1", "2"]
        assert [line["previous_hash"] for line in lines[1:]] == [
            line["hash"] for line in lines[:-1]
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]

    def test_a_broken_journal_is_exported_and_said_to_be_broken(self, link):
        """It is evidence, and the exit code says of what."""
        self.write(link)
        table = link.session.client("dynamodb")
        items = table.scan(TableName="twinspan-state")["Items"]
        second = next(item for item in items if item.get("data", {}).get("S") == '{"about":"1"}')
        table.put_item(TableName="twinspan-state", Item={**second, "data": {"S": '{"about":"9"}'}})
        result = run("journal", "export", code=1)
        assert len(result.stdout.splitlines()) == 3
        assert "entry 2" in result.stderr
        broken = json.loads(run("journal", "verify", "--json", code=1).stdout)["broken"]
        assert broken["entry"] == 2

    def test_history_tells_what_runs_did(self, link):
        """Newest first, and what found nothing to do only when asked."""
        for execution, outcome in (("run-1", "switched"), ("run-2", "nothing-to-do")):
            link.journal.append("bedrock", EntryKind.SIGNAL, execution, {"about": "an alarm"}, NOON)
            link.journal.append("bedrock", EntryKind.OUTCOME, execution, {"outcome": outcome}, NOON)
        runs = json.loads(run("history", "--json").stdout)["runs"]
        assert [(one["execution"], one["outcome"]) for one in runs] == [("run-1", "switched")]
        told = run("history", "--all").stdout
        assert told.index("run-2") < told.index("run-1")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1h30m", 5400)]
)
def test_times_are_written_as_people_say_them(text, seconds):
    """With their units, alone or together."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "0s", "1h 30m", "400d", "1w", "١h"])
def test_other_times_are_refused(text):
    """A number without a unit could mean anything."""
    with pytest.raises(typer.BadParameter):
        duration(text)
