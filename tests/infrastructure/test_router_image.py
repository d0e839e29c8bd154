"""The recipe of the routers' image: it installs and tries out what the rendered configuration needs."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from cfnlint.decode import cfn_yaml

from infra.deploy import TEMPLATES
from infra.doctor.images import BUILT_BY_US, ROOT_DEVICE
from infra.router_config import parse_gateway_configuration, render
from tests.infrastructure.test_templates_router_config import ROUTER, document

# Read by the linter: the embedded cloud has no Image Builder, and does not deploy this one.
RESOURCES: dict[str, Any] = cfn_yaml.load(str(TEMPLATES / "router-image.yaml"))["Resources"]
PHASES = ("build", "validate", "test")


def component() -> dict[str, Any]:
    """The component's document as Image Builder reads it, with stand-ins for the parameters."""
    data = RESOURCES["RouterComponent"]["Properties"]["Data"]["Fn::Sub"]
    filled = re.sub(r"\$\{(\w+)\}", r"<\1>", data)
    return dict(yaml.safe_load(filled))


def scripts(phase: str) -> list[str]:
    """What a phase runs."""
    (found,) = (p for p in component()["phases"] if p["name"] == phase)
    steps = [step for step in found["steps"] if step["action"] == "ExecuteBash"]
    return [command for step in steps for command in step["inputs"]["commands"]]


@pytest.mark.parametrize("phase", PHASES)
def test_every_script_is_bash_and_stops_at_the_first_failure(phase: str) -> None:
    """A build that cannot install or try out something is no image."""
    for script in scripts(phase):
        assert script.startswith("set -euo pipefail\n")
        checked = subprocess.run(
            ["bash", "-n"], input=script, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_only_parameters_are_filled_in() -> None:
    """CloudFormation would take a shell variable in braces for one of its own."""
    data = RESOURCES["RouterComponent"]["Properties"]["Data"]["Fn::Sub"]
    assert set(re.findall(r"\$\{(\w+)\}", data)) == {
        "AmazonLinuxRelease",
        "StrongSwanSourceSha256",
        "StrongSwanSourceUrl",
    }


def test_packages_are_of_one_release_and_sources_of_one_hash() -> None:
    """Nothing is installed that parent image, release and hash do not name."""
    (script,) = scripts("build")
    installing = [line for line in script.splitlines() if re.search(r"\b(dnf|packages)\b", line)]
    assert "--releasever=<AmazonLinuxRelease>" in installing[0]
    assert "gpgcheck=1" in installing[0]
    assert [line for line in installing[1:] if "dnf" in line] == []
    assert (
        script.index("curl ")
        < script.index("sha256sum --check --strict")
        < script.index("tar --extract")
    )


def test_the_image_has_every_command_that_a_router_runs() -> None:
    """The rendered configuration's programs, and those of the boot script, are installed or the system's own."""
    packages = {"nft": "nftables", "sysctl": "", "sh": "", "systemctl": "", "swanctl": "strongswan"}
    configuration = render(ROUTER, parse_gateway_configuration(document(1, 2)))
    used = {command[0] for command in configuration.commands}
    assert used == set(packages)
    (script,) = scripts("build")
    for package in {
        *packages.values(),
        "amazon-cloudwatch-agent",
        "awscli-2",
        "frr",
        "iproute",
        "python3",
    } - {""}:
        assert re.search(rf"packages install .*\b{package}\b", script), package
    enabled = {c[-1] for c in configuration.commands if c[:2] == ("systemctl", "enable")}
    assert enabled == {"strongswan", "frr"}
    assert "systemctl disable frr strongswan" in script


def test_what_the_tunnels_demand_is_tried_out_after_the_new_kernel_and_on_the_image() -> None:
    """XFRM interfaces and each algorithm of the rendered proposal; the build reboots first."""
    (build,) = (p for p in component()["phases"] if p["name"] == "build")
    assert build["steps"][-1]["action"] == "Reboot"
    assert scripts("validate") == scripts("test")
    (trial,) = scripts("test")
    assert "type xfrm" in trial
    swanctl = render(ROUTER, parse_gateway_configuration(document(1, 2))).files[
        "/etc/swanctl/conf.d/twinspan.conf"
    ]
    assert "aes256gcm16-prfsha384-ecp384" in swanctl
    for algorithm in ("AES_GCM_16", "PRF_HMAC_SHA2_384", "ECP_384"):
        assert algorithm in trial


def test_doctor_knows_the_image_again() -> None:
    """By the tag that the recipe gives it, and by its root device."""
    properties = RESOURCES["RouterDistribution"]["Properties"]
    distribution = properties["Distributions"][0]["AmiDistributionConfiguration"]
    assert BUILT_BY_US in distribution["AmiTags"]
    recipe = RESOURCES["RouterRecipe"]["Properties"]
    assert recipe["BlockDeviceMappings"][0]["DeviceName"] == ROOT_DEVICE
