"""A hook for the documentation's site: what lies outside of `docs/` is named there, and not linked to.

In the repository such links lead to the readme, to code and to tests; a site of `docs/` alone has none of them.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\((\.\.?/[^)#\s]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page's text."""
    folder = posixpath.dirname(page.file.src_uri)

    def outside(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        return link[0] if path.startswith("docs/") else f"{text} (`{path}`)"

    return _LINK.sub(outside, markdown)
