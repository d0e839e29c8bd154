"""Check `images`: whether the edge routers have an image to boot from, and one that was made for them.

What is in an image no API tells. That `router-image.yaml` built it is read from its tags.
"""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from infra.deploy.clients import Clients
from infra.deploy.settings import COMMERCIAL, DeploySettings
from infra.doctor.findings import Finding, Result

NAME = "images"
# The launch template gives this device its size and encryption.
ROOT_DEVICE = "/dev/xvda"
BUILT_BY_US = "twinspan:router-image"
_BUILD = "build one from infra/templates/router-image.yaml (docs/deployment.md)"


def check(clients: Clients, side: str, settings: DeploySettings) -> Iterator[Finding]:
    """The routers' image, on the side that has routers: there, available, and of the instances' architecture."""
    if side != COMMERCIAL:
        return
    image_id = settings.commercial_parameters.get("RouterImageId")
    if image_id is None:
        yield Finding(NAME, side, Result.FAILED, "no RouterImageId for the edge routers", _BUILD)
        return
    ec2 = clients.client("ec2", side)
    try:
        images = ec2.describe_images(ImageIds=[image_id])["Images"]
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("InvalidAMIID"):
            raise
        images = []
    if not images or images[0]["State"] != "available":
        state = images[0]["State"] if images else "not there"
        yield Finding(NAME, side, Result.FAILED, f"{image_id} is {state}", _BUILD)
        return
    (image,) = images
    instance_type = settings.commercial_parameters.get("RouterInstanceType", "c6i.large")
    (described,) = ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
    architectures = described["ProcessorInfo"]["SupportedArchitectures"]
    if image["Architecture"] not in architectures:
        yield Finding(
            NAME,
            side,
            Result.FAILED,
            f"{image_id} is for {image['Architecture']}, {instance_type} is {', '.join(architectures)}",
            "choose an instance type of the image's architecture: --parameter commercial:RouterInstanceType=…",
        )
    tags = {tag["Key"]: tag["Value"] for tag in image.get("Tags", ())}
    strange = [] if BUILT_BY_US in tags else [f"it carries no tag {BUILT_BY_US}"]
    if image.get("RootDeviceName") != ROOT_DEVICE:
        strange.append(f"its root device is {image.get('RootDeviceName')}, not {ROOT_DEVICE}")
    if strange:
        yield Finding(NAME, side, Result.WARNING, f"{image_id}: {'; '.join(strange)}", _BUILD)
    else:
        detail = f"{image_id} is a router's image, version {tags[BUILT_BY_US]}"
        yield Finding(NAME, side, Result.OK, detail)
