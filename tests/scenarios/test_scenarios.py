"""`make demo SCENARIO=…`, for each scenario there is; the default one has a file of its own."""

import pytest

from infra.local.demo.scenarios import SCENARIOS
from tests.scenarios.playing import held, play

OTHERS = sorted(set(SCENARIOS) - {"tunnel-down"})


@pytest.mark.proof  # each plays in real time, most of which is waiting
@pytest.mark.parametrize("scenario", OTHERS)
def test_the_promise_holds(scenario):
    """Whatever a scenario breaks, what it promises holds, by its own exit code."""
    held(scenario)


def test_an_unknown_scenario_is_refused_with_the_choice():
    """A mistyped scenario lists those that exist."""
    done = play("earthquake")
    assert done.returncode == 2
    assert "tunnel-down" in done.stderr
