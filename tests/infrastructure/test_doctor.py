"""`twinspan doctor` and the deploy command: what they find before anything is changed, and how they say it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.ec2.models import ec2_backends
from typer.testing import CliRunner

from infra.cli import options
from infra.cli.app import app
from infra.doctor import Finding, Result, examine, images
from infra.doctor.services import needed
from infra.local.server import EmbeddedCloud
from infra.local.sides import COMMERCIAL
from tests.infrastructure.conftest import IMAGE_ID, settings
from tests.infrastructure.failing_cloud import Faulty

RUNNER = CliRunner()


def of(findings: list[Finding], check: str, side: str = "") -> list[Finding]:
    return [f for f in findings if f.check == check and side in (f.side, "")]


def vpcs(cloud: EmbeddedCloud) -> list[str]:
    return [
        vpc["VpcId"]
        for side in ("govcloud", "commercial")
        for vpc in cloud.client("ec2", side).describe_vpcs()["Vpcs"]
    ]


@pytest.mark.slow
def test_doctor_finds_what_stands_in_the_way(
    cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usable pair of accounts passes; each fault is found, named with its side, and given a remedy."""
    there = vpcs(cloud)
    healthy = examine(cloud, settings())
    assert [
        f.to_dict() for f in healthy if f.result is Result.FAILED and f.check != "services"
    ] == []
    assert [f.result for f in of(healthy, "credentials")] == [Result.OK, Result.OK]
    assert [f.detail for f in of(healthy, "partitions")] == ["aws-us-gov and aws"]
    assert any("dry runs are allowed" in f.detail for f in of(healthy, "permissions"))
    assert all(f.remedy for f in healthy if f.result is not Result.OK)
    assert vpcs(cloud) == there, "a dry run makes nothing"

    late = examine(cloud, settings(), lambda: datetime.now(UTC) + timedelta(minutes=6))
    assert {f.result for f in of(late, "clock")} == {Result.FAILED}

    overlapping = settings(govcloud_parameters={"VpcCidr": "172.16.0.0/20"})
    (found,) = of(examine(cloud, overlapping), "networks", "both")
    assert found.result is Result.FAILED
    assert "172.16.0.0/20 and 172.16.0.0/16 overlap" in found.detail

    def denied(answer: Any) -> Any:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": ""}}, "CreateVpc")

    class Denying(Faulty):
        def client(self, service: str, side: str) -> Any:
            inner = super().client(service, side)
            if service == "ec2" and side == "govcloud":
                inner.create_vpc = lambda **arguments: denied(arguments)
            return inner

    (refused,) = [
        f
        for f in of(examine(Denying(cloud), settings()), "permissions")
        if f.result is Result.FAILED
    ]
    assert (refused.side, "ec2:CreateVpc" in refused.detail) == ("govcloud", True)

    expired = Faulty(cloud, refused={("sts", "commercial", "get_caller_identity")})
    findings = examine(expired, settings())
    assert [f.side for f in of(findings, "credentials") if f.result is Result.FAILED] == [
        "commercial"
    ]
    assert not of(findings, "quotas", "commercial")

    monkeypatch.setattr(options, "clients", lambda *names: expired)
    answer = RUNNER.invoke(app, ["doctor", "--json"])
    assert answer.exit_code == 1
    told = json.loads(answer.stdout)
    assert told["ok"] is False
    assert {"check", "side", "result", "detail", "remedy"} == set(told["findings"][0])


def test_doctor_looks_at_the_routers_image(
    cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None given, one that is not there, one of another architecture, one of unknown making: each is told apart."""
    ec2 = cloud.client("ec2", "commercial")

    def found(**parameters: str) -> list[tuple[Result, str]]:
        given = settings(commercial_parameters=parameters)
        return [(f.result, f.detail) for f in images.check(cloud, "commercial", given)]

    assert found() == [(Result.FAILED, "no RouterImageId for the edge routers")]
    absent = "ami-00000000000000000"
    assert found(RouterImageId=absent) == [(Result.FAILED, f"{absent} is not there")]
    (foreign,) = found(RouterImageId=IMAGE_ID)
    assert foreign[0] is Result.WARNING
    assert images.BUILT_BY_US in foreign[1]
    (other, _) = found(RouterImageId=IMAGE_ID, RouterInstanceType="c7g.large")
    assert (other[0], "c7g.large is arm64" in other[1]) == (Result.FAILED, True)
    # moto registers an image without what is asked here, so one of its own becomes a router's.
    monkeypatch.setattr(
        ec2_backends[COMMERCIAL.account_id][COMMERCIAL.region].amis[IMAGE_ID],
        "root_device_name",
        images.ROOT_DEVICE,
    )
    tag = {"Key": images.BUILT_BY_US, "Value": "1.0.0"}
    ec2.create_tags(Resources=[IMAGE_ID], Tags=[tag])
    try:
        said = f"{IMAGE_ID} is a router's image, version 1.0.0"
        assert found(RouterImageId=IMAGE_ID) == [(Result.OK, said)]
    finally:
        ec2.delete_tags(Resources=[IMAGE_ID], Tags=[tag])
    assert list(images.check(cloud, "govcloud", settings())) == []


def test_doctor_asks_for_the_services_that_the_templates_name() -> None:
    """The list of endpoints is read from the templates, nested ones included, so it cannot go stale."""
    assert "com.amazonaws.us-gov-west-1.secretsmanager" in needed("govcloud", "us-gov-west-1")
    assert "com.amazonaws.us-east-1.bedrock-runtime" in needed("commercial", "us-east-1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["deploy", "--plan", "--parameter", "VpcCidr=10.0.0.0/8"],
            "wanted govcloud:Name=Value or commercial:Name=Value",
        ),
        (["deploy", "--plan", "--policy", "/nowhere.json"], "--policy /nowhere.json: No such file"),
        (["deploy"], "nobody is here to look at the change sets"),
        (["destroy", "--delete-data"], "nobody is here to be asked"),
        (["destroy"], "--delete-data: is missing"),
        (["destroy", "--yes"], "--delete-data: is missing"),
        (["deploy", "--plan", "--govcloud-profile", "no-such-profile"], "no-such-profile"),
    ],
)
def test_the_command_line_explains_wrong_input(arguments: list[str], said: str) -> None:
    """Bad input ends with exit code 2, and names the option and what was wanted."""
    answer = RUNNER.invoke(app, arguments)
    assert answer.exit_code == 2
    assert said in answer.stderr
