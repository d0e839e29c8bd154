"""`make demo SCENARIO=both-down`."""

import pytest

from tests.scenarios.playing import held


@pytest.mark.slow
def test_the_promise_holds():
    """With no path left calls fail closed, a person is told, and the link recovers by itself."""
    held("both-down")
