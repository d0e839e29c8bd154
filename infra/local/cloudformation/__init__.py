"""CloudFormation for the embedded cloud: strict where moto's is lenient.

`install(endpoint_url)` lets this package answer CloudFormation's API in a process that serves moto. As in
AWS, it makes resources by calling the other services' APIs, at `endpoint_url`. Everything that a template
may contain is listed, type by type and property by property (`RESOURCE_TYPES`); the rest fails the stack.

Not guaranteed: what a property does is up to the service that stores it. `no_effect` of a type lists
the properties that are accepted and change nothing here, each with the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from infra.local import moto_speed
from infra.local.cloudformation import api
from infra.local.cloudformation.errors import (
    CloudFormationProblem,
    TemplateProblem,
    UnsupportedByEmbeddedCloud,
)
from infra.local.cloudformation.resource_type import Registry
from infra.local.cloudformation.types_api import API_TYPES
from infra.local.cloudformation.types_compute import COMPUTE_TYPES
from infra.local.cloudformation.types_data import DATA_TYPES
from infra.local.cloudformation.types_edge import EDGE_TYPES
from infra.local.cloudformation.types_identity import IDENTITY_TYPES
from infra.local.cloudformation.types_network import NETWORK_TYPES
from infra.local.cloudformation.types_security import SECURITY_TYPES
from infra.local.cloudformation.types_stack import STACK_TYPES
from infra.local.sides import SIDES

RESOURCE_TYPES = Registry(
    (
        *NETWORK_TYPES,
        *SECURITY_TYPES,
        *IDENTITY_TYPES,
        *DATA_TYPES,
        *COMPUTE_TYPES,
        *API_TYPES,
        *EDGE_TYPES,
        *STACK_TYPES,
    )
)


# Service models are read once per session, and EC2's takes long to read.
_session: Any = boto3.session.Session()
_session_lock = threading.Lock()


class LoopbackClients:
    """boto3 clients of both accounts, at one endpoint; each is made once."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._made: dict[tuple[str, str, str], Any] = {}

    def __call__(self, service: str, account_id: str, region: str) -> Any:
        """A client of a service. Raises `KeyError` for an account that is neither side's."""
        key = (service, account_id, region)
        with _session_lock:  # making a client is not thread-safe; using it is
            if key not in self._made:
                side = {side.account_id: side for side in SIDES}[account_id]
                self._made[key] = _session.client(
                    service,
                    region_name=region,
                    endpoint_url=self._endpoint_url,
                    aws_access_key_id=side.access_key_id,
                    aws_secret_access_key=side.secret_access_key,
                    config=Config(
                        retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
                    ),
                )
            return self._made[key]

    def close(self) -> None:
        """Close the connections."""
        with _session_lock:
            for client in self._made.values():
                client.close()
            self._made.clear()


def install(endpoint_url: str) -> Callable[[], None]:
    """Answer CloudFormation's API in this process; resources are made at `endpoint_url`.

    Returns what undoes it: call it when the cloud stops.
    """
    moto_speed.install()
    clients = LoopbackClients(endpoint_url)
    undo = api.install(RESOURCE_TYPES, clients)

    def uninstall() -> None:
        undo()
        clients.close()

    return uninstall


__all__ = [
    "RESOURCE_TYPES",
    "CloudFormationProblem",
    "LoopbackClients",
    "TemplateProblem",
    "UnsupportedByEmbeddedCloud",
    "install",
]
