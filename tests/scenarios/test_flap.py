"""`make demo SCENARIO=flap`."""

import pytest

from tests.scenarios.playing import held


@pytest.mark.proof
def test_the_promise_holds():
    """A path that comes and goes costs no call, and damping bounds the switches."""
    held("flap")
