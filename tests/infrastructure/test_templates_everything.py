"""Every option at once: what the default link leaves out deploys, changes and goes as well."""

from __future__ import annotations

import pytest

from infra.deploy import deploy, destroy, plan
from infra.local.server import EmbeddedCloud
from infra.rendering import EVERYTHING, GIVEN
from tests.infrastructure.conftest import settings

OPTIONS = {
    name: value for name, value in EVERYTHING["govcloud"].items() if name not in GIVEN["govcloud"]
}


@pytest.mark.proof
def test_a_link_with_every_option_comes_changes_and_goes(cloud: EmbeddedCloud) -> None:
    """Container edge and warm proxy deploy; again nothing changes; another image changes the task alone; all goes."""
    certificate = cloud.client("acm").request_certificate(DomainName="inference.example.gov")
    options = {**OPTIONS, "EdgeCertificateArn": certificate["CertificateArn"]}
    whole = settings(govcloud_parameters=options)
    deployed = deploy(cloud, whole)
    assert deployed.govcloud["EdgeDnsName"]
    assert [change for item in plan(cloud, whole) for change in item.changes] == []
    image = options["EdgeImage"].replace("0" * 64, "1" * 64)
    other = settings(govcloud_parameters={**options, "EdgeImage": image})
    assert {c.logical_id for item in plan(cloud, other) for c in item.changes} == {
        "EdgeTaskDefinition"
    }
    deploy(cloud, other)
    ecs = cloud.client("ecs")
    (service,) = ecs.list_services(cluster="twinspan-bedrock")["serviceArns"]
    described = ecs.describe_services(cluster="twinspan-bedrock", services=[service])
    task = described["services"][0]["taskDefinition"]
    container = ecs.describe_task_definition(taskDefinition=task)["taskDefinition"]
    assert container["containerDefinitions"][0]["image"] == image
    assert destroy(cloud, other, delete_data=True) == []
    clusters = ecs.describe_clusters(clusters=["twinspan-bedrock"])["clusters"]
    assert {cluster["status"] for cluster in clusters} <= {"INACTIVE"}
