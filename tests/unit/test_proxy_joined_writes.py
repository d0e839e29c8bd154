"""Answers leave in as few writes as they can, and none is late for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.joined_writes import COPY_LIMIT_BYTES, JoinedWrites


class Noting(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []

    def write(self, data: Any) -> None:
        self.done.append(data)

    def writelines(self, list_of_data: Any) -> None:
        self.done.append(tuple(list_of_data))

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


LARGE = b"x" * (COPY_LIMIT_BYTES + 1)


def at_once(joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.write(b"body")
    joined.write(b"more")


def large(joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.write(LARGE)


def head_alone(joined: JoinedWrites) -> None:
    joined.write(b"head")


def closed(joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.close()
    assert joined.is_closing()


@pytest.mark.parametrize(
    ("act", "done"),
    [
        (at_once, [b"headbody", b"more"]),
        (large, [(b"head", LARGE)]),
        (head_alone, [b"head"]),
        (closed, [b"head", "closed"]),
    ],
)
def test_what_is_written_in_one_turn_leaves_together_and_in_order(
    act: Callable[[JoinedWrites], None], done: list[Any]
) -> None:
    """Head and body are one write; a head alone, or one before an end, leaves with the turn, before the end."""

    async def test() -> None:
        transport = Noting()
        act(JoinedWrites(transport, asyncio.get_running_loop()))
        await asyncio.sleep(0)
        assert transport.done == done

    asyncio.run(test())


def test_a_streams_head_does_not_wait_for_its_first_bytes() -> None:
    """Whoever reads an event stream sees its status at once, and each part as it comes."""

    async def test() -> None:
        transport = Noting()
        joined = JoinedWrites(transport, asyncio.get_running_loop())
        joined.write(b"head")
        await asyncio.sleep(0)
        assert transport.done == [b"head"]
        joined.write(b"one")
        assert transport.done == [b"head", b"one"]

    asyncio.run(test())
