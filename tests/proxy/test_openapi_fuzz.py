"""The running server, fuzzed by what it publishes about itself.

Schemathesis makes requests that fit the document and requests that do not, and holds every answer to it. The stand-in
for Bedrock answers all that reaches it with 200, so that every other answer is the proxy's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.event_stream import exception_frame
from tests.proxy.serving import serving_in_thread
from tests.proxy.worlds import Seen, Upstream, answer_well, answer_with

KEY = "a-callers-key"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
# Bodies for Bedrock are Bedrock's to judge, and some values that fit a pattern are refused for what they mean (`a/../b`,
# an unknown data class): that a request was accepted or refused says nothing by itself. Resources have no lives here.
INAPPLICABLE = (
    "negative_data_rejection",
    "positive_data_acceptance",
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
)
EVENT = exception_frame("throttlingException", "stands for an event")
STREAM = f"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nContent-Length: {len(EVENT)}\r\n\r\n"


async def answer_as_asked(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
    """200, in the media type of the operation."""
    if seen.target.endswith("-stream"):
        await answer_with(STREAM.encode() + EVENT)(upstream, seen, writer)
    else:
        await answer_well(upstream, seen, writer)


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def tightened(published: bytes) -> dict[str, Any]:
    """The document as it holds while the upstream answers 200 alone: each error is the proxy's, with its own name."""
    document: dict[str, Any] = json.loads(published)
    document["components"]["schemas"]["Error"]["required"] = ["__type", "message"]
    for response in document["components"]["responses"].values():
        response["headers"]["x-amzn-errortype"]["required"] = True
    return document


def fuzz(tmp_path: Path, *options: str) -> tuple[int, str, int]:
    """Run schemathesis against a server; its exit code, what it said, and how many calls reached the upstream."""
    with serving_in_thread(
        allow_anonymous="false", bearer_key_sha256=DIGEST, body_limit_bytes=100_000
    ) as (server, _):
        for upstream in server.upstreams.values():
            upstream.behaviour = answer_as_asked
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(tightened(get(server.port, "/openapi.json"))))
        ended = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                str(document),
                f"--url={server.url}",
                f"--header=Authorization: Bearer {KEY}",
                f"--exclude-checks={','.join(INAPPLICABLE)}",
                "--request-timeout=10",
                "--seed=1",
                "--workers=1",
                *options,
            ],
            cwd=tmp_path,
            env=os.environ | {"NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert get(server.port, "/healthz") == b'{"status":"alive"}'
        return ended.returncode, ended.stdout + ended.stderr, server.calls


@pytest.mark.slow
def test_the_server_keeps_to_its_document(tmp_path: Path) -> None:
    """Every answer has a described status, headers and body; wrong methods are 405; without a key there is 401."""
    code, said, calls = fuzz(tmp_path, "--phases=coverage,fuzzing", "--max-examples=5")
    assert code == 0, said
    assert calls > 0


@pytest.mark.proof
def test_the_server_keeps_to_its_document_at_length(tmp_path: Path) -> None:
    """The same, with hundreds of made-up requests to each operation."""
    code, said, calls = fuzz(tmp_path, "--phases=coverage,fuzzing", "--max-examples=400")
    assert code == 0, said
    assert calls > 0
