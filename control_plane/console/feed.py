"""Live updates: one reader for all open pages, which each get the parts that changed.

The link is read every `refresh_seconds` while a page is open, and not at all otherwise. A reading that failed leaves the
last page standing and says so; nobody is shown old facts as new ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from control_plane.errors import TwinspanError


@dataclass(frozen=True, slots=True)
class Page:
    """A page in parts: name → HTML. `read_at`: ISO 8601, UTC."""

    read_at: str
    regions: Mapping[str, str]


def digest(html: str) -> str:
    """By which a part is told from its earlier self."""
    return hashlib.sha256(html.encode()).hexdigest()[:16]


class Feed:
    """Reads, renders and hands out. Belongs to one event loop."""

    def __init__(self, read: Callable[[], Page], refresh_seconds: float) -> None:
        self._read, self._refresh_seconds = read, refresh_seconds
        self._changed = asyncio.Condition()
        self._page: Page | None = None
        self._error = ""
        self._revision = 0
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._closed = False

    async def page(self) -> Page:
        """The page as it is now, read afresh.

        Raises:
            TwinspanError: it could not be read.
        """
        async with self._reading:
            return await asyncio.to_thread(self._read)

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events for one open page: `regions` with what changed, `trouble`, `beat`."""
        sent: dict[str, str] = {}
        revision, error = -1, ""
        self._listeners += 1
        try:
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._follow())
            while not self._closed:
                await self._news(revision)
                if self._closed:
                    return
                page, revision = self._page, self._revision
                if self._error != error:
                    error = self._error
                    yield _event("trouble", {"text": error})
                if page is None or error:
                    continue
                changed = {n: h for n, h in page.regions.items() if sent.get(n) != digest(h)}
                sent |= {name: digest(html) for name, html in changed.items()}
                if changed:
                    regions = {n: {"html": h, "digest": digest(h)} for n, h in changed.items()}
                    yield _event("regions", {"read_at": page.read_at, "regions": regions})
                else:
                    yield _event("beat", {"read_at": page.read_at})
        finally:
            self._listeners -= 1

    async def close(self) -> None:
        """End every stream."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def _news(self, revision: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._revision != revision)

    async def _tell(self) -> None:
        async with self._changed:
            self._revision += 1
            self._changed.notify_all()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listeners and not self._closed:
            begins = loop.time()
            try:
                self._page, self._error = await self.page(), ""
            except TwinspanError as error:
                self._error = f"{type(error).__name__}: {error}"
            except Exception as error:
                # A defect ends the reader, and open pages are told so rather than left with old facts.
                self._error = f"the console failed with {type(error).__name__}; restart it"
                await self._tell()
                raise
            await self._tell()
            await asyncio.sleep(max(0.05, self._refresh_seconds - (loop.time() - begins)))


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
