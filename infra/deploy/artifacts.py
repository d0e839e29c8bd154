"""Phase `artifacts`: the bucket, and in it packages, definitions and templates under names of their content.

Nothing here is ever overwritten or taken away: what an earlier deployment ran from is the way back to it.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from infra import packaging
from infra.deploy import api_picture
from infra.deploy.progress import DeploymentError
from infra.deploy.run import Before, Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, TEMPLATES
from infra.packaging import Artifact
from infra.stacks import StackSource

NAME = "artifacts"


class Artifacts:
    """See the module's description."""

    name = NAME
    needs: tuple[str, ...] = ()

    def require(self, run: Run) -> None:
        """The bucket is ours or can be made; somebody else's of the same name is refused by AWS."""
        s3 = run.client("s3", GOVCLOUD)
        owner = run.sides[GOVCLOUD].account_id
        try:
            s3.head_bucket(Bucket=run.bucket, ExpectedBucketOwner=owner)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 403:
                raise DeploymentError(
                    NAME, f"bucket {run.bucket} is not ours, or we may not read it: name another"
                ) from error
            if status != 404:
                raise

    def before(self, run: Run) -> Before:
        """Nothing is changed that would have to be undone."""
        return {}

    def act(self, run: Run) -> None:
        """Build and store everything that the GovCloud stack is made from."""
        provide_bucket(run)
        with_dependencies = run.settings.with_dependencies
        packages = {
            "ProxyKey": packaging.build(
                packaging.PROXY, run.directory, with_dependencies=with_dependencies
            ),
            "ControlPlaneKey": packaging.build(
                packaging.CONTROL_PLANE, run.directory, with_dependencies=with_dependencies
            ),
            "StateMachineKey": packaging.definition("remediation"),
            "SweepKey": packaging.distributed_sweep(run.directory)
            if run.settings.distributed_sweep
            else packaging.definition("sweep"),
        }
        root = TEMPLATES / "govcloud.yaml"
        digest = api_picture.digest_of(root.read_text(), run.settings.govcloud_parameters)
        templates = packaging.templates(
            root,
            run.directory,
            lambda made: f"{run.bucket_url}/{made.key}",
            lambda text: api_picture.with_digest(text, digest),
        )
        for artifact in (*packages.values(), *templates):
            _store(run, artifact)
        run.source = StackSource(
            name=run.settings.govcloud_stack,
            parameters={
                "ArtifactBucket": run.bucket,
                **{name: artifact.key for name, artifact in packages.items()},
            },
            url=f"{run.bucket_url}/{templates[-1].key}",
            tags=run.settings.tags,
        )

    def check(self, run: Run) -> None:
        """What was built is there: S3 answered each upload, and reads are consistent with writes."""

    def undo(self, run: Run, before: Before) -> str:
        """Kept: a stack that goes back needs what it ran from."""
        return "packages and templates are kept; nothing runs from them until a stack names them"


def provide_bucket(run: Run) -> None:
    """Make the bucket if it is not there: private, versioned."""
    s3 = run.client("s3", GOVCLOUD)
    if _exists(s3.head_bucket, Bucket=run.bucket):
        return
    region = run.sides[GOVCLOUD].region
    s3.create_bucket(Bucket=run.bucket, CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_public_access_block(
        Bucket=run.bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_versioning(Bucket=run.bucket, VersioningConfiguration={"Status": "Enabled"})
    run.say(NAME, f"bucket {run.bucket} made")


def _store(run: Run, artifact: Artifact) -> None:
    """Put an artifact under its key, which tells its content; one that is there is left alone."""
    s3 = run.client("s3", GOVCLOUD)
    if _exists(s3.head_object, Bucket=run.bucket, Key=artifact.key):
        return
    s3.put_object(Bucket=run.bucket, Key=artifact.key, Body=artifact.path.read_bytes())
    run.say(NAME, f"stored {artifact}")


def _exists(head: Any, **what: str) -> bool:
    try:
        head(**what)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return False
    return True


def complete_source(run: Run) -> StackSource:
    """The GovCloud stack's source with what only the commercial side and the region can tell."""
    assert run.source is not None, "artifacts come before the stack that is made from them"
    region = run.client("sts", COMMERCIAL).meta.region_name
    parameters: dict[str, str | None] = {
        "LinkId": run.settings.link_id,
        **run.source.parameters,
        "RouterAddressA": run.commercial["RouterAddressA"],
        "RouterAddressB": run.commercial["RouterAddressB"],
        "DynamoDbPrefixListId": prefix_list(run, "dynamodb"),
        "S3PrefixListId": prefix_list(run, "s3"),
        "ProxyAllowedHosts": f"*.bedrock-runtime.{region}.vpce.amazonaws.com",
    }
    if network := run.settings.commercial_parameters.get("VpcCidr"):
        parameters["PeerCidr"] = network
    if "PrivateSubnetACidr" in run.commercial:
        parameters["ProxyAllowedNetworks"] = ",".join(
            (run.commercial["PrivateSubnetACidr"], run.commercial["PrivateSubnetBCidr"])
        )
    return StackSource(
        name=run.source.name,
        parameters={**parameters, **run.settings.govcloud_parameters},
        url=run.source.url,
        tags=run.source.tags,
    )


def prefix_list(run: Run, service: str) -> str:
    """The id of AWS's prefix list of a gateway endpoint's service."""
    ec2 = run.client("ec2", GOVCLOUD)
    name = f"com.amazonaws.{ec2.meta.region_name}.{service}"
    found = ec2.describe_managed_prefix_lists(
        Filters=[{"Name": "prefix-list-name", "Values": [name]}]
    )["PrefixLists"]
    if not found:
        raise DeploymentError("govcloud", f"the region has no prefix list {name}")
    return str(found[0]["PrefixListId"])
