"""botocore's data files, each parsed once in a process.

Every session, and moto by itself, parses them anew: EC2's takes a quarter of a second. Standard library only
until called, and run by file path too: the process that forks function workers imports nothing of ours.

Not guaranteed: anything but speed.
"""

from __future__ import annotations

from typing import Any


def keep_parsed() -> None:
    """Keep every file that is parsed from now on. Safe to call again.

    botocore merges its "sdk-extras" into what it loaded, which changes nothing the second time.
    """
    from botocore.loaders import JSONFileLoader

    if hasattr(JSONFileLoader, "_twinspan_parsed"):
        return
    original = JSONFileLoader.load_file
    parsed: dict[str, Any] = {}

    def load_file(loader: Any, file_path: str) -> Any:
        if file_path not in parsed:
            parsed[file_path] = original(loader, file_path)
        return parsed[file_path]

    setattr(JSONFileLoader, "load_file", load_file)  # noqa: B010 - botocore's class, not ours
    setattr(JSONFileLoader, "_twinspan_parsed", parsed)  # noqa: B010
