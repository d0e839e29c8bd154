"""Which scenarios there are."""

from infra.local.demo.scenarios import SCENARIOS
from tests.scenarios.playing import ROOT, play


def test_an_unknown_scenario_is_refused_with_the_choice():
    """A mistyped scenario lists those that exist."""
    done = play("earthquake")
    assert done.returncode == 2
    assert "tunnel-down" in done.stderr


def test_every_scenario_is_played_by_a_test():
    """A scenario that is added comes with its test."""
    files = {path.stem for path in (ROOT / "tests/scenarios").glob("test_*.py")}
    assert {f"test_{name.replace('-', '_')}" for name in SCENARIOS} <= files
