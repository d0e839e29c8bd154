"""`make demo SCENARIO=gray-failure`."""

import pytest

from tests.scenarios.playing import held


@pytest.mark.slow
def test_the_promise_holds():
    """A tunnel that says UP and carries nothing is left, and returned to when it carries again."""
    held("gray-failure")
