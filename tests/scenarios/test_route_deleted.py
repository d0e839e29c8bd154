"""`make demo SCENARIO=route-deleted`."""

import pytest

from tests.scenarios.playing import held


@pytest.mark.slow
def test_the_promise_holds():
    """A required route that someone deletes is put back, and traffic does not move."""
    held("route-deleted")
