"""Tab completes what this account has: links, paths, executions; where it cannot be asked, nothing and no noise."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.domain.journal import EntryKind
from tests.adapters.conftest import store
from tests.builders import NOON
from tests.cli.conftest import register


def complete(line: str) -> list[str]:
    """As bash asks: the words so far, the last of them perhaps empty."""
    words = line.split(" ")
    asked = {
        "_TWINSPAN_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(app, [], env=asked, prog_name="twinspan")
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("twinspan failo", ["failover"]),
        ("twinspan journal e", ["export"]),
        ("twinspan failover --to ", ["tunnel-1", "tunnel-2"]),
        ("twinspan drill --to tunnel-2", ["tunnel-2"]),
        ("twinspan quarantine t", ["tunnel-1", "tunnel-2"]),
        ("twinspan status --link b", ["bedrock"]),
        ("twinspan explain ", ["last", "run-2", "run-1"]),
        ("twinspan approve ", ["run-2"]),
    ],
)
def test_values_are_completed_as_well(link, line, offered):
    """Paths of the link, links of the account, executions of the journal, the question that is open."""
    register(link)
    for execution in ("run-1", "run-2"):
        link.journal.append("bedrock", EntryKind.SIGNAL, execution, {"about": "an alarm"}, NOON)
    link.state.save_approval("bedrock", "run-2", {"task_token": "t", "expires_at": "later"})
    assert complete(line) == offered


def test_what_cannot_be_asked_is_not_offered(link):
    """A line that is being typed is no place for an error."""
    store(link, "topology", "no topology")
    assert complete("twinspan failover --to ") == []
    assert complete("twinspan failover --to tunnel-1 --link nowhere --reas") == ["--reason"]
