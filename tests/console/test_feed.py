"""Live updates: what open pages are told, and when the link is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from control_plane.console.feed import Feed, Page
from control_plane.errors import AwsUnavailable


class Link:
    """Answers each reading with the next of its parts; the last one for ever."""

    def __init__(self, *parts: str | Exception) -> None:
        self._parts = list(parts)
        self.readings = 0

    def read(self) -> Page:
        self.readings += 1
        part = self._parts.pop(0) if len(self._parts) > 1 else self._parts[0]
        if isinstance(part, Exception):
            raise part
        return Page("2026-03-01T12:00:00+00:00", {"headline": part, "plan": "the same"})


async def take(events: AsyncIterator[str], count: int) -> list[tuple[str, dict[str, object]]]:
    """The next events, as kind and data."""
    found = []
    for _ in range(count):
        kind, data = (await anext(events)).rstrip().split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_page_gets_only_what_changed() -> None:
    """First all parts, then those that differ, then a sign of life."""

    async def story() -> None:
        link = Link("well", "ill", "ill")
        feed = Feed(link.read, 0.01)
        first, second, third = await take(feed.events(), 3)
        assert set(first[1]["regions"]) == {"headline", "plan"}  # type: ignore[call-overload]
        assert set(second[1]["regions"]) == {"headline"}  # type: ignore[call-overload]
        assert third[0] == "beat"
        await feed.close()

    asyncio.run(story())


def test_a_link_that_cannot_be_read_is_said_to_be_so() -> None:
    """Old facts are not shown as new ones; when it can be read again the trouble is taken back."""

    async def story() -> None:
        feed = Feed(
            Link("well", AwsUnavailable("ssm:GetParameter", "Throttling"), "ill").read, 0.01
        )
        events = await take(feed.events(), 4)
        assert [kind for kind, _ in events] == ["regions", "trouble", "trouble", "regions"]
        assert "Throttling" in str(events[1][1]["text"])
        assert events[2][1]["text"] == ""
        await feed.close()

    asyncio.run(story())


def test_a_defect_of_the_console_is_not_hidden() -> None:
    """Pages are told that what they show is old, and the defect is raised where it happened."""

    async def story() -> None:
        feed = Feed(Link("well", ZeroDivisionError()).read, 0.01)
        events = await take(feed.events(), 2)
        assert "ZeroDivisionError" in str(events[1][1]["text"])
        assert feed._reader is not None
        with pytest.raises(ZeroDivisionError):
            await feed._reader
        await feed.close()

    asyncio.run(story())


def test_closing_ends_the_streams() -> None:
    """A console that ends does not wait for its open pages."""

    async def story() -> None:
        feed = Feed(Link("well").read, 0.01)
        stream = feed.events()
        await take(stream, 1)
        await feed.close()
        rest = [event async for event in stream]
        assert all("beat" in event for event in rest)

    asyncio.run(story())


def test_two_pages_share_one_reader() -> None:
    """However many pages are open, AWS is asked by one."""

    async def story() -> None:
        link = Link("well")
        feed = Feed(link.read, 60.0)
        await asyncio.gather(take(feed.events(), 1), take(feed.events(), 1))
        assert link.readings == 1
        await feed.close()

    asyncio.run(story())
