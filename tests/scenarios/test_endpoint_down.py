"""`make demo SCENARIO=endpoint-down`."""

import pytest

from tests.scenarios.playing import held


@pytest.mark.slow
def test_the_promise_holds():
    """A failed endpoint behind a healthy tunnel costs no call."""
    held("endpoint-down")
