from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "aiohttp",
    "aws_lambda_powertools",
    "aws_xray_sdk",
    "boto3",
    "botocore",
    "control_plane",
    "fastapi",
    "infra",
    "moto",
    "networkx",
    "pydantic",
    "pydantic_settings",
    "requests",
    "starlette",
    "state_machine",
    "uvicorn",
    "uvloop",
)


def imported(module: str) -> set[str]:
    """Top-level names of all modules that are loaded once `module` is, in a fresh process."""
    script = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(ended.stdout)}


@pytest.mark.parametrize("module", ["proxy.lambda_handler", "proxy.routing_config"])
def test_the_cold_start_draws_in_nothing_heavy(module: str) -> None:
    """Importing the Lambda edge loads no other part of the project, no web framework, no tracer."""
    assert imported(module) & set(HEAVY) == set()


def test_the_contract_alone_is_light() -> None:
    """The routing config's module needs msgspec and the standard library, nothing of AWS."""
    assert imported("proxy.routing_config") & {"boto3", "botocore", "httptools"} == set()
