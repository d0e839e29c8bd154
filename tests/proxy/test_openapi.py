"""The published description against what the code answers: neither may say what the other does not."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from proxy.mvp import MVP_INVOKE
from proxy.openapi import document
from proxy.routes import OPERATIONS
from proxy.server import OPEN_TO_ALL
from tests.proxy.serving import serving
from tests.proxy.test_lambda_handler import Function, event, function
from tests.proxy.worlds import Answer, World, run, world

__all__ = ["function"]

ROOT = Path(__file__).parents[2]
DOCUMENT = document(1000)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PARAMETERS = {
    "modelId": "a.model-v1%3A0",
    "guardrailIdentifier": "gr-1",
    "guardrailVersion": "DRAFT",
}


def documented() -> list[tuple[str, set[str]]]:
    """Each route with parameters filled in, and its methods, HEAD with each GET."""
    found = []
    for path, item in DOCUMENT["paths"].items():
        methods = {method.upper() for method in item}
        filled = re.sub(r"\{(\w+)\}", lambda name: PARAMETERS[name[1]], path)
        found.append((filled, methods | ({"HEAD"} if "GET" in methods else set())))
    return found


async def asked(w: World, path: str, method: str) -> Answer:
    body = b'{"modelId":"a","body":{}}' if method == "POST" else b""
    return await w.call(path, body, method)


def test_the_document_is_valid_openapi() -> None:
    """A validator of the specification accepts the document, and every operation has a name of its own."""
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    names = [
        operation["operationId"]
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
    ]
    assert len(set(names)) == len(names)


def test_every_route_of_the_code_is_described() -> None:
    """The runtime's operations, the MVP's routes and what is open to all stand in the document, and what needs a key says so."""
    paths = DOCUMENT["paths"]
    assert {path for path in paths if path.startswith("/model/")} == {
        f"/model/{{modelId}}/{operation}" for operation in OPERATIONS
    }
    assert set(paths) >= MVP_INVOKE | OPEN_TO_ALL
    unguarded = {path for path, item in paths.items() for op in item.values() if not op["security"]}
    assert unguarded == OPEN_TO_ALL


@run
async def test_the_code_answers_what_is_described_and_nothing_else() -> None:
    """Documented methods are answered with a documented status; others are 405 with exactly those in `Allow`."""
    async with world() as w:
        for path, methods in documented():
            for method in METHODS:
                answer = await asked(w, path, method)
                if method in methods:
                    assert answer.status == 200, (path, method)
                else:
                    assert answer.status == 405, (path, method)
                    assert set(answer.headers["allow"].split(", ")) == methods, path


def test_every_status_of_the_code_is_described() -> None:
    """Each status with which the code refuses is one that the document explains, and none is explained for nothing."""
    refused: set[int] = set()
    for file in (ROOT / "proxy").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Refused"
            ):
                assert isinstance(node.args[0], ast.Constant), file
                refused.add(int(node.args[0].value))
    assert {int(status) for status in DOCUMENT["components"]["responses"]} == refused
    used = {
        int(status)
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        for status in operation["responses"]
    }
    assert used == refused | {200}


@run
async def test_the_limit_that_is_described_is_the_limit() -> None:
    """The document names the limit of a body that this proxy has."""
    async with world(settings_changes={"body_limit_bytes": 777}) as w:
        described = (await w.call("/openapi.json", method="GET")).json
        assert described == document(777)
        said = described["paths"]["/bedrock"]["post"]["requestBody"]["description"]
        assert "777 bytes" in said
        assert (await w.call(body=b"x" * 778)).status == 413


@run
async def test_the_server_publishes_it_to_everybody() -> None:
    """Without a key the document is given, as JSON, and HEAD tells its size without it."""
    async with serving(allow_anonymous="false") as server:
        got = await server.exchange(b"GET /openapi.json HTTP/1.0\r\n\r\n")
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"content-type: application/json" in head
        assert json.loads(body)["openapi"] == "3.1.0"
        alone = await server.exchange(b"HEAD /openapi.json HTTP/1.0\r\n\r\n")
        assert alone.endswith(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in alone
        refused = await server.exchange(b"GET /v1/bedrock/models HTTP/1.0\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 401")


def test_the_function_publishes_it(function: Function) -> None:
    """The Lambda edge gives the same document."""
    answer = function.invoke(event("/openapi.json", None, "GET"))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["paths"].keys() == DOCUMENT["paths"].keys()


@pytest.mark.parametrize("edge", ["proxy.lambda_handler", "proxy.server"])
def test_a_cold_start_does_not_load_it(edge: str) -> None:
    """The document's module is imported by the first who asks for it, not by an edge."""
    script = f"import sys, {edge}; print('proxy.openapi' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "False"


def test_errors_look_as_described() -> None:
    """The document's error says what an SDK reads (`message`) and where its exception's name stands."""
    error: dict[str, Any] = DOCUMENT["components"]["schemas"]["Error"]
    assert error["required"] == ["message"]
    for status, response in DOCUMENT["components"]["responses"].items():
        assert "x-amzn-errortype" in response["headers"], status
    assert "Allow" in DOCUMENT["components"]["responses"]["405"]["headers"]
    assert "WWW-Authenticate" in DOCUMENT["components"]["responses"]["401"]["headers"]
