"""The container edge's role suffices for what the proxy's server calls, and is no wider than that.

The link is deployed with that edge, and the server runs with the variables and in the role of its task definition.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.adapters.caller_keys import CallerKeyTable
from control_plane.domain.caller_keys import CallerKey
from infra.deploy import Deployment
from infra.local.environment import Environment
from infra.local.held_against import Deployed
from infra.rendering import EVERYTHING
from tests.workflows.conftest import POLICY
from tests.workflows.test_permissions import MODEL_ID

pytestmark = pytest.mark.proof


class WithContainerEdge(Environment):
    """The link with the edge that streams; its certificate is made first, as an operator would."""

    def _deploy(self) -> Deployment:
        made = self.cloud.client("acm").request_certificate(DomainName="inference.example.gov")
        self._govcloud_parameters = {
            "Edge": "container",
            "EdgeImage": EVERYTHING["govcloud"]["EdgeImage"],
            "EdgeCertificateArn": made["CertificateArn"],
        }
        return super()._deploy()


def key_for(environment: Environment) -> str:
    """A caller's key, made as an operator makes it."""
    now = datetime.now(UTC)
    record, key = CallerKey.made(
        key_id="0123abcd",
        secret="a" * 43,
        principal="a team",
        created_at=now,
        expires_at=now + timedelta(days=1),
    )
    table = environment.deployment.govcloud["KeysTableName"]
    CallerKeyTable(environment, table).add(record)
    return key


def ask(url: str, key: str) -> int:
    """The status of a call of the model."""
    body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    request = urllib.request.Request(
        f"{url}/model/{MODEL_ID.replace(':', '%3A')}/converse",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def test_the_containers_role_is_what_its_server_calls() -> None:
    """Carrying, telling of a failing path, looking a key up and writing the audit, by role and by endpoint."""
    with WithContainerEdge(
        policy=POLICY, timers=False, callers_need_keys=True, record_calls=True
    ) as environment:
        url, key = environment.proxy_url, key_for(environment)
        assert ask(url, "nobodys") == 401
        assert ask(url, key) == 200
        environment.faults.cut("tunnel-1")
        assert {ask(url, key) for _ in range(6)} == {200}
        record = environment.cloud.calls
        assert record is not None
        deployed = Deployed(environment.cloud)
        ((role, family),) = deployed.containers.items()
        permitted = deployed.permissions[role].actions
        # Rows and reports are written behind the answers' backs.
        deadline = time.monotonic() + 30
        while deployed.judge(record.calls).used.get(family) != permitted:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        verdict = deployed.judge(record.calls)
        assert verdict.refused == ()
        assert permitted == verdict.used[family]
