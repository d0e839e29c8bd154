"""The reference of events names each kind that is read, and its example is read as one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from control_plane.domain.signals import READERS, Signal, parse_event
from tests.unit.test_signals import LINKS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text()


def test_the_page_of_events_names_what_is_read_and_nothing_else() -> None:
    """By source and detail type."""
    assert set(re.findall(r"^\| `([\w.-]+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)) == set(READERS)


def test_the_example_on_the_page_is_an_event() -> None:
    """Whoever copies it gets a signal about the link."""
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    read = parse_event(json.loads(example), LINKS)
    assert isinstance(read, Signal)
    assert (read.link_id, read.path) == ("bedrock", "tunnel-1")
