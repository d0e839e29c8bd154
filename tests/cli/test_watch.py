"""`twinspan status --watch` where nobody looks at a screen: each change once, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from control_plane.cli import status
from control_plane.cli.app import app
from control_plane.errors import AwsUnavailable
from control_plane.overview.reading import Reader
from tests.adapters.conftest import routing_config, store
from tests.cli.conftest import register


def publish(link, **fields):
    store(link, "routing-config", routing_config(**fields).to_json())


@pytest.fixture
def between_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens while the watch waits, one thing after another; then Ctrl-C."""

    def play(*happenings: Callable[[], None]) -> None:
        coming: Iterator[Callable[[], None]] = iter(happenings)

        def wait(_: float) -> None:
            happening = next(coming, None)
            if happening is None:
                raise KeyboardInterrupt
            happening()

        monkeypatch.setattr(status.time, "sleep", wait)

    return play


def nothing() -> None:
    """A look that finds what the last one found."""


def watch(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["status", "--watch", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_pipe_gets_a_block_for_each_change(link, between_looks):
    """At once, and then when the active path is another; looks that find the same say nothing."""
    publish(link)
    between_looks(nothing, lambda: publish(link, generation=2, active_path="tunnel-2"), nothing)
    said = watch()
    assert said.count("bedrock: ") == 2
    assert said.index("generation 1") < said.index("generation 2")


def test_a_script_gets_a_document_a_line(link, between_looks):
    """What `status --json` prints, on one line each."""
    publish(link)
    between_looks(nothing, lambda: publish(link, generation=2, active_path="tunnel-2"))
    documents = [json.loads(line) for line in watch("--json").splitlines()]
    assert [one["active_path"] for one in documents] == ["tunnel-1", "tunnel-2"]


def test_a_look_that_fails_is_said_aside_and_the_watch_goes_on(link, between_looks, monkeypatch):
    """AWS is busy for a moment: the last that was known stays true."""
    publish(link)
    read = Reader.read

    def busy(self):
        monkeypatch.setattr(Reader, "read", read)
        raise AwsUnavailable("ssm:GetParameter", "ThrottlingException")

    between_looks(lambda: monkeypatch.setattr(Reader, "read", busy), nothing)
    result = CliRunner().invoke(app, ["status", "--watch", "--json"])
    assert "not read anew: ssm:GetParameter: ThrottlingException" in result.stderr
    assert [json.loads(line)["generation"] for line in result.stdout.splitlines()] == [1, 1]


def test_all_links_take_a_line_each(link):
    """One that cannot be read is said to be, and the exit code tells."""
    register(link)
    publish(link)
    ran = CliRunner().invoke(app, ["status", "--all"])
    assert ran.stdout.startswith("bedrock: ")
    store(link, "topology", "{}")
    ran = CliRunner().invoke(app, ["status", "--all", "--json"])
    assert ran.exit_code == 1
    [one] = json.loads(ran.stdout)["links"]
    assert one["state"]["word"] == "Unreadable"
    assert "InvalidTopology" in one["state"]["text"]
