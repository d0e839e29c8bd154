"""Weekly windows, to the minute."""

import pytest

from control_plane.domain.change_windows import ChangeWindow, next_opening
from tests.builders import NOON, later

# Noon is a Sunday's.
AT_NIGHT = ChangeWindow(opens="22:45", closes="01:30")
ON_MONDAYS = ChangeWindow(days=("mon",), opens="09:30", closes="10:15")


def test_an_opening_is_told_to_the_minute_whatever_the_moment_of_asking():
    """Neither the minute, the second nor the fraction of the asking is in the answer."""
    odd = NOON.replace(minute=17, second=43, microsecond=999)
    assert next_opening((AT_NIGHT,), odd) == NOON.replace(hour=22, minute=45)
    assert next_opening((ON_MONDAYS,), odd) == NOON.replace(day=2, hour=9, minute=30)


@pytest.mark.parametrize(
    ("seconds", "is_open"),
    [(38699, False), (38700, True), (48599, True), (48600, False)],
    ids=["before 22:45", "at 22:45", "before 01:30", "at 01:30"],
)
def test_a_window_through_midnight_is_open_from_its_first_to_before_its_last_minute(
    seconds, is_open
):
    """It opens when it says, and is closed at the moment at which it closes."""
    assert AT_NIGHT.contains(later(seconds)) is is_open
    assert (next_opening((AT_NIGHT,), later(seconds)) is None) is is_open


def test_at_its_opening_the_next_one_is_a_week_away():
    """An opening that is now is not one that is still to come."""
    opens = NOON.replace(day=2, hour=9, minute=30)
    assert ON_MONDAYS.next_opening(opens) == opens.replace(day=9)
    assert next_opening((ON_MONDAYS,), opens) is None
