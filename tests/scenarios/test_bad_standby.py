"""`make demo SCENARIO=bad-standby`."""

import pytest

from tests.scenarios.playing import held


@pytest.mark.slow
def test_the_promise_holds():
    """A standby that cannot answer is refused, and the refusal names the route."""
    held("bad-standby")
