"""The canary's newest period as a window of calls."""

from __future__ import annotations

import pytest

from control_plane.adapters.path_metrics import Measured
from control_plane.overview.verdicts import window
from tests.builders import NOON


@pytest.mark.parametrize(
    ("runs", "passed", "calls", "lost"), [(3, 3, 3, 0), (3, 1, 3, 2), (2, 3, 3, 0)]
)
def test_statistics_that_were_read_at_different_moments_make_a_window(
    runs: int, passed: int, calls: int, lost: int
) -> None:
    """CloudWatch's two statistics are no snapshot: one may count a run that the other does not know of yet."""
    found = window([Measured(NOON, runs, passed)])
    assert found is not None
    assert (found.calls, found.lost) == (calls, lost)
