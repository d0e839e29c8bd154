"""Deploying over a link that is there: what the deployment finds, and what it is told."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from moto.iam.models import iam_backends

from infra.deploy import Deployment, DeploymentError, Trigger, deploy
from infra.documents import EndpointOverride
from infra.local.server import EmbeddedCloud
from infra.local.sides import COMMERCIAL
from tests.infrastructure.conftest import settings
from tests.infrastructure.failing_cloud import (
    TELEMETRY,
    Faulty,
    VirtualTime,
    changed,
    failing,
    journal,
    record,
    state,
    tunnels,
)


def test_overrides_lead_paths_elsewhere(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """An endpoint override becomes the path's URL and peer network; one for an unknown path is an error."""
    override = EndpointOverride("http://127.0.11.1:9", ("127.0.11.1/32",))
    with pytest.raises(DeploymentError, match=r"documents: .* tunnel-9"):
        deploy(cloud, settings(endpoint_overrides={"tunnel-9": override}))
    done = deploy(cloud, settings(endpoint_overrides={"tunnel-1": override}))
    first, second = done.topology["paths"]
    assert first["endpoint_url"] == "http://127.0.11.1:9"
    assert first["peer_networks"] == ["127.0.11.1/32"]
    assert second["endpoint_url"].startswith("https://vpce-")


def test_tunnels_that_stay_down_are_named(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """Without a data plane no tunnel comes up: the deployment says which it waited for."""
    with pytest.raises(DeploymentError, match=r"routers: after 0 s: tunnel-1: .* is DOWN"):
        deploy(cloud, settings(tunnels_up_seconds=0.001))


def test_a_full_user_is_reported(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """Two foreign keys and a stale secret cannot be mended by a third key; the error says what to do."""
    iam = cloud.client("iam", "commercial")
    user = deployment.commercial["CrossPartitionUserName"]
    for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    keys = [iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"] for _ in range(2)]
    with pytest.raises(DeploymentError, match=r"credential: .* 2 access keys .* delete one"):
        deploy(cloud, settings())
    iam.delete_access_key(UserName=user, AccessKeyId=keys[0])
    assert deploy(cloud, settings()).govcloud == deployment.govcloud
    listed = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    assert len(listed) == 2


def test_an_old_key_is_replaced_and_outlives_that_by_a_day(
    cloud: EmbeddedCloud, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever still holds the former key fails no call; the first deployment a day later deletes it."""
    iam, user = cloud.client("iam", "commercial"), deployment.commercial["CrossPartitionUserName"]
    secrets = cloud.client("secretsmanager")

    def keys() -> set[str]:
        listed = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        return {key["AccessKeyId"] for key in listed if key["Status"] == "Active"}

    def stored() -> str:
        text = secrets.get_secret_value(SecretId="twinspan/bedrock/commercial")["SecretString"]
        return str(json.loads(text)["aws_access_key_id"])

    def grow_old(days: int) -> None:
        for key in (
            iam_backends[COMMERCIAL.account_id][COMMERCIAL.partition].users[user].access_keys
        ):
            monkeypatch.setattr(key, "create_date", key.create_date - timedelta(days=days))

    for foreign in keys() - {stored()}:
        iam.delete_access_key(UserName=user, AccessKeyId=foreign)
    first = stored()
    grow_old(89)
    deploy(cloud, settings())
    assert stored() == first
    grow_old(1)
    deploy(cloud, settings())
    second = stored()
    assert keys() == {first, second}
    assert second != first
    deploy(cloud, settings())
    assert keys() == {first, second}, "within a day"
    grow_old(1)
    deploy(cloud, settings())
    assert (keys(), stored()) == ({second}, second)
    deploy(cloud, settings(credential_days=0))
    assert second in keys()
    assert stored() != second
    assert len(keys()) == 2


def test_a_tunnel_has_thirty_minutes_and_then_all_goes_back(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """On a link that was there, a tunnel that stays down puts back everything that this deployment changed."""
    before, time = state(cloud), VirtualTime()
    faulty = Faulty(cloud, {TELEMETRY: tunnels("DOWN", 0)})
    with failing(Trigger.TUNNEL_NOT_UP) as raised:
        deploy(faulty, changed(tunnels_up_seconds=1800.0), clock=time.clock)
    assert "after 1800 s" in raised.value.reason
    assert 1800 <= time.seconds <= 1860
    assert [line.partition(":")[0] for line in raised.value.undone] == [
        *("routers", "credential", "govcloud", "commercial")
    ]
    assert raised.value.left == ()
    assert state(cloud) == before
    assert record(cloud)["state"] == "rolled-back"
    entry = journal(cloud)[-1]
    assert (entry["event"], entry["trigger"]) == ("rolled-back", "tunnel-not-up")
