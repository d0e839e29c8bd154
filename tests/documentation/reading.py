"""What the documentation tells its reader to type, in the order in which it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PART = re.compile(
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$|^<!-- until: (?P<until>.+?) -->$",
    flags=re.MULTILINE | re.DOTALL,
)
INDENTED = re.compile(r"^    +(?:\$ )?((?:twinspan|aws|make|python -m infra)\b.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands, or a program, and the output that the page shows after it; or a state to wait for."""

    page: str
    language: str
    code: str = ""
    shown: tuple[str, ...] = ()
    until: str = ""

    @property
    def commands(self) -> list[str]:
        """Of a shell block: one for each line, with the lines that continue it."""
        joined = re.sub(r"\\\n\s*", " ", self.code)
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


@dataclass(slots=True)
class Page:
    """One page's parts, top to bottom."""

    name: str
    blocks: list[Block] = field(default_factory=list)


def pages() -> Iterator[Page]:
    """The readme, and every page of the documentation."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        yield Page(str(path.relative_to(ROOT)), blocks(path))


def blocks(path: Path) -> list[Block]:
    """A page's shell blocks, programs, and states to wait for."""
    name, found = str(path.relative_to(ROOT)), []
    text, ended = path.read_text(), 0
    for part in _PART.finditer(text):
        follows, ended = not text[ended : part.start()].strip(), part.end()
        if part["until"]:
            found.append(Block(name, "until", until=part["until"]))
        elif part["language"] in ("sh", "python"):
            found.append(Block(name, part["language"], part["code"]))
        elif part["language"] == "text" and follows and found and found[-1].language == "sh":
            last = found.pop()
            shown = tuple(line for line in part["code"].splitlines() if line.strip(" …"))
            found.append(Block(name, "sh", last.code, shown))
    return found
