"""Brings a link to both partitions, and takes it down again.

CloudFormation cannot cross partitions, so a deployment is a row of phases over two stacks:

    preflight → commercial → artifacts → govcloud → credential → routers → documents

Each phase ends with a check of what it promised, and each can be run again: what is there already is
left as it is or brought up to date, so an interrupted deployment is continued by repeating it. Nothing here
knows where the clients lead; the embedded cloud is deployed by the same code as AWS.

What is the operator's or the control plane's is written once and then left alone: the policy and the
routing config. The topology is written whenever it changed.

Not guaranteed: that a phase which fails leaves nothing behind. Each stack rolls itself back; what earlier
phases made stays, and the next run goes on from there.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from control_plane.domain.policy import Policy
from control_plane.domain.topology import Topology
from control_plane.errors import TwinspanError
from control_plane.settings import parameter_name
from infra import documents, packaging, router_config
from infra.documents import EndpointFacts, EndpointOverride, SideFacts
from infra.packaging import Artifact
from infra.stacks import Plan, StackError, Stacks, StackSource

TEMPLATES = Path(__file__).resolve().parent / "templates"
GOVCLOUD, COMMERCIAL = "govcloud", "commercial"
PHASES = (
    "preflight",
    "commercial",
    "artifacts",
    "govcloud",
    "credential",
    "routers",
    "documents",
)
# A new access key is not known everywhere in AWS at once.
_KEY_SETTLES_SECONDS = 30.0
_MAXIMUM_ACCESS_KEYS = 2
# Stand-ins from a documentation network, for a plan made before the routers have addresses.
_PLANNED_ADDRESSES = ("192.0.2.1", "192.0.2.2")


class Clients(Protocol):
    """Where boto3 clients come from: one per service and side (`govcloud`, `commercial`)."""

    def client(self, service: str, side: str) -> Any: ...


class DeploymentError(Exception):
    """A phase could not keep its promise; the message says which phase, and what was found."""

    def __init__(self, phase: str, reason: str) -> None:
        self.phase, self.reason = phase, reason
        super().__init__(f"{phase}: {reason}")


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of what a deployment does."""

    phase: str
    message: str


Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class DeploySettings:
    """What to deploy.

    `commercial_parameters`, `govcloud_parameters`: template parameters that differ from their defaults.
    `artifact_bucket`: made if absent; None names it after account and region. `endpoint_overrides`: by
    path, where endpoints are reached instead of at their zonal names. `extra_paths`: further paths of the
    topology. `policy`: the first policy, if the schema's defaults are not wanted. `tunnels_up_seconds`:
    how long to wait for the VPN tunnels; 0 does not wait. `poll_seconds`: between two looks.
    """

    link_id: str = "bedrock"
    commercial_parameters: Mapping[str, str] = field(default_factory=dict)
    govcloud_parameters: Mapping[str, str] = field(default_factory=dict)
    artifact_bucket: str | None = None
    with_dependencies: bool = True
    distributed_sweep: bool = False
    endpoint_overrides: Mapping[str, EndpointOverride] = field(default_factory=dict)
    extra_paths: Sequence[Mapping[str, Any]] = ()
    policy: Mapping[str, Any] | None = None
    tunnels_up_seconds: float = 1800.0
    poll_seconds: float = 5.0

    @property
    def commercial_stack(self) -> str:
        return f"twinspan-{self.link_id}-commercial"

    @property
    def govcloud_stack(self) -> str:
        return f"twinspan-{self.link_id}-govcloud"

    @property
    def tags(self) -> dict[str, str]:
        return {"twinspan:link": self.link_id}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed link: both stacks' outputs by name, and the documents that are in force."""

    link_id: str
    sides: Mapping[str, SideFacts]
    commercial: Mapping[str, str]
    govcloud: Mapping[str, str]
    topology: Mapping[str, Any]
    policy: Mapping[str, Any]
    routing_config: Mapping[str, Any]


def silent(progress: Progress) -> None:
    """A report that nobody reads."""


def deploy(clients: Clients, settings: DeploySettings, report: Report = silent) -> Deployment:
    """Deploy a link, or bring a deployed one up to date.

    Raises:
        DeploymentError: naming the phase; for a stack also the resource and CloudFormation's reason.
    """
    return _Deployer(clients, settings, report).run()


def plan(clients: Clients, settings: DeploySettings, report: Report = silent) -> list[Plan]:
    """What `deploy` would change, as change sets that are shown and dropped.

    The artifact bucket is made and the packages are put there, because CloudFormation reads a template of
    this size only from a bucket.

    Raises:
        DeploymentError: naming the phase and the reason.
    """
    return _Deployer(clients, settings, report).plan()


def destroy(
    clients: Clients, settings: DeploySettings, *, delete_data: bool, report: Report = silent
) -> list[str]:
    """Take a link down, in the reverse order; goes on past what fails, and returns what it was.

    Raises:
        DeploymentError: without `delete_data`, since state, audit, evidence and policy go too.
    """
    if not delete_data:
        raise DeploymentError(
            "destroy", "this deletes state, audit, evidence and policy: confirm with delete_data"
        )
    return _Destroyer(clients, settings, report).run()


@contextmanager
def _phase(name: str) -> Iterator[None]:
    """Name the failures of a phase."""
    try:
        yield
    except DeploymentError:
        raise
    except ClientError as error:
        inner = error.response.get("Error", {})
        reason = f"{error.operation_name}: {inner.get('Code')}: {inner.get('Message')}"
        raise DeploymentError(name, reason) from error
    except (
        BotoCoreError,
        StackError,
        TwinspanError,
        documents.IncompleteNetwork,
        packaging.PackagingError,
        ValueError,
    ) as error:
        raise DeploymentError(name, str(error)) from error


class _Deployer:
    def __init__(self, clients: Clients, settings: DeploySettings, report: Report) -> None:
        self._clients, self._settings, self._report = clients, settings, report
        self._stacks = {
            side: Stacks(clients.client("cloudformation", side), settings.poll_seconds)
            for side in (COMMERCIAL, GOVCLOUD)
        }

    def run(self) -> Deployment:
        with _phase("preflight"):
            sides = self._preflight()
        with _phase("commercial"):
            commercial = self._deploy_commercial()
        with _phase("artifacts"), tempfile.TemporaryDirectory(prefix="twinspan-") as directory:
            source = self._artifacts(Path(directory), sides, commercial)
        with _phase("govcloud"):
            govcloud = self._deploy_govcloud(source)
        with _phase("credential"):
            self._provide_credential(commercial, govcloud)
        with _phase("routers"):
            self._configure_routers(commercial, govcloud)
        with _phase("documents"):
            topology, policy, config = self._write_documents(sides, commercial, govcloud)
        return Deployment(
            self._settings.link_id, sides, commercial, govcloud, topology, policy, config
        )

    def plan(self) -> list[Plan]:
        plans = []
        with _phase("preflight"):
            sides = self._preflight()
        with _phase("commercial"):
            plans.append(self._stacks[COMMERCIAL].plan(self._commercial_source()))
            self._stacks[COMMERCIAL].discard(plans[-1])
            commercial = self._stacks[COMMERCIAL].outputs(self._settings.commercial_stack)
        if commercial is None:
            self._say("commercial", "the routers have no addresses yet: planned with stand-ins")
            commercial = dict(
                zip(("RouterAddressA", "RouterAddressB"), _PLANNED_ADDRESSES, strict=True)
            )
        with _phase("artifacts"), tempfile.TemporaryDirectory(prefix="twinspan-") as directory:
            source = self._artifacts(Path(directory), sides, commercial)
        with _phase("govcloud"):
            plans.append(self._stacks[GOVCLOUD].plan(source))
            self._stacks[GOVCLOUD].discard(plans[-1])
        return plans

    def _say(self, phase: str, message: str) -> None:
        self._report(Progress(phase, message))

    def _until(self, phase: str, seconds: float, look: Callable[[], str | None], wait: str) -> None:
        """Look until `look` finds nothing missing, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        missing = look()
        if missing:
            self._say(phase, wait)
        while missing:
            if time.monotonic() >= deadline:
                raise DeploymentError(phase, f"after {seconds:.0f} s: {missing}")
            time.sleep(self._settings.poll_seconds)
            missing = look()

    # -- preflight ------------------------------------------------------------------------------

    def _preflight(self) -> dict[str, SideFacts]:
        """Who we are on both sides, and that the two networks can be joined."""
        sides = {}
        for side in (GOVCLOUD, COMMERCIAL):
            sts = self._clients.client("sts", side)
            identity = sts.get_caller_identity()
            partition = identity["Arn"].split(":")[1]
            sides[side] = SideFacts(partition, sts.meta.region_name, identity["Account"])
            self._say(
                "preflight",
                f"{side}: account {identity['Account']}, {sts.meta.region_name} ({partition})",
            )
        if sides[GOVCLOUD].partition == sides[COMMERCIAL].partition:
            raise DeploymentError(
                "preflight", f"both sides are in the partition {sides[GOVCLOUD].partition}"
            )
        self._check_networks()
        return sides

    def _check_networks(self) -> None:
        ours, theirs = self._settings.govcloud_parameters, self._settings.commercial_parameters
        network = ipaddress.ip_network(ours.get("VpcCidr", "10.0.0.0/16"))
        peer = ipaddress.ip_network(theirs.get("VpcCidr", "172.16.0.0/16"))
        if network.overlaps(peer):
            raise DeploymentError("preflight", f"VpcCidr: {network} and {peer} overlap")
        for side, given, wanted in ((GOVCLOUD, ours, peer), (COMMERCIAL, theirs, network)):
            if "PeerCidr" in given and ipaddress.ip_network(given["PeerCidr"]) != wanted:
                raise DeploymentError(
                    "preflight",
                    f"PeerCidr of {side} is {given['PeerCidr']}, but the other side is {wanted}",
                )

    # -- commercial -----------------------------------------------------------------------------

    def _commercial_source(self) -> StackSource:
        network = self._settings.govcloud_parameters.get("VpcCidr")
        return StackSource(
            name=self._settings.commercial_stack,
            parameters={
                "LinkId": self._settings.link_id,
                **({"PeerCidr": network} if network else {}),
                **self._settings.commercial_parameters,
            },
            body=(TEMPLATES / "commercial.yaml").read_text(),
            tags=self._settings.tags,
        )

    def _deploy_commercial(self) -> dict[str, str]:
        outputs = self._stacks[COMMERCIAL].deploy(
            self._commercial_source(), lambda message: self._say("commercial", message)
        )
        ec2 = self._clients.client("ec2", COMMERCIAL)
        wanted = [outputs["BedrockEndpointId"], outputs["Ec2EndpointId"]]

        def unavailable() -> str | None:
            endpoints = ec2.describe_vpc_endpoints(VpcEndpointIds=wanted)["VpcEndpoints"]
            states = {item["VpcEndpointId"]: item["State"].lower() for item in endpoints}
            bad = [f"{name} is {states[name]}" for name in wanted if states[name] != "available"]
            return ", ".join(bad) or None

        self._until("commercial", 600, unavailable, "waiting for the endpoints")
        self._say(
            "commercial",
            f"routers at {outputs['RouterAddressA']} and {outputs['RouterAddressB']}, "
            f"Bedrock endpoint {outputs['BedrockEndpointId']} available",
        )
        return outputs

    # -- artifacts ------------------------------------------------------------------------------

    def _artifacts(
        self, directory: Path, sides: Mapping[str, SideFacts], commercial: Mapping[str, str]
    ) -> StackSource:
        """Build and store packages, definition and template; returns what the GovCloud stack is to be."""
        facts = sides[GOVCLOUD]
        bucket = self._settings.artifact_bucket or (
            f"twinspan-artifacts-{facts.account_id}-{facts.region}"
        )
        self._provide_bucket(bucket, facts.region)
        with_dependencies = self._settings.with_dependencies
        proxy = packaging.build(packaging.PROXY, directory, with_dependencies=with_dependencies)
        control_plane = packaging.build(
            packaging.CONTROL_PLANE, directory, with_dependencies=with_dependencies
        )
        definition = packaging.definition("remediation")
        sweep = (
            packaging.distributed_sweep(directory)
            if self._settings.distributed_sweep
            else packaging.definition("sweep")
        )
        address = f"https://{bucket}.s3.{facts.region}.amazonaws.com"
        templates = packaging.templates(
            TEMPLATES / "govcloud.yaml", directory, lambda made: f"{address}/{made.key}"
        )
        for artifact in (proxy, control_plane, definition, sweep, *templates):
            self._upload(bucket, artifact)
        return StackSource(
            name=self._settings.govcloud_stack,
            parameters=self._govcloud_parameters(
                bucket, proxy, control_plane, definition, sweep, commercial
            ),
            url=f"{address}/{templates[-1].key}",
            tags=self._settings.tags,
        )

    def _provide_bucket(self, bucket: str, region: str) -> None:
        s3 = self._clients.client("s3", GOVCLOUD)
        try:
            s3.head_bucket(Bucket=bucket)
            return
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self._say("artifacts", f"bucket {bucket} made")

    def _upload(self, bucket: str, artifact: Artifact) -> None:
        """Put an artifact under its key, which tells its content; one that is there is left alone."""
        s3 = self._clients.client("s3", GOVCLOUD)
        try:
            s3.head_object(Bucket=bucket, Key=artifact.key)
            return
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        s3.put_object(Bucket=bucket, Key=artifact.key, Body=artifact.path.read_bytes())
        self._say("artifacts", f"stored {artifact}")

    def _govcloud_parameters(
        self,
        bucket: str,
        proxy: Artifact,
        control_plane: Artifact,
        definition: Artifact,
        sweep: Artifact,
        commercial: Mapping[str, str],
    ) -> dict[str, str]:
        network = self._settings.commercial_parameters.get("VpcCidr")
        region = self._clients.client("sts", COMMERCIAL).meta.region_name
        parameters = {
            "LinkId": self._settings.link_id,
            "RouterAddressA": commercial["RouterAddressA"],
            "RouterAddressB": commercial["RouterAddressB"],
            "ArtifactBucket": bucket,
            "ProxyKey": proxy.key,
            "ControlPlaneKey": control_plane.key,
            "StateMachineKey": definition.key,
            "SweepKey": sweep.key,
            "DynamoDbPrefixListId": self._prefix_list("dynamodb"),
            "S3PrefixListId": self._prefix_list("s3"),
            "ProxyAllowedHosts": f"*.bedrock-runtime.{region}.vpce.amazonaws.com",
        }
        if network:
            parameters["PeerCidr"] = network
        if "PrivateSubnetACidr" in commercial:
            parameters["ProxyAllowedNetworks"] = ",".join(
                (commercial["PrivateSubnetACidr"], commercial["PrivateSubnetBCidr"])
            )
        return {**parameters, **self._settings.govcloud_parameters}

    def _prefix_list(self, service: str) -> str:
        ec2 = self._clients.client("ec2", GOVCLOUD)
        name = f"com.amazonaws.{ec2.meta.region_name}.{service}"
        found = ec2.describe_managed_prefix_lists(
            Filters=[{"Name": "prefix-list-name", "Values": [name]}]
        )["PrefixLists"]
        if not found:
            raise DeploymentError("artifacts", f"the region has no prefix list {name}")
        prefix_list: str = found[0]["PrefixListId"]
        return prefix_list

    # -- govcloud -------------------------------------------------------------------------------

    def _deploy_govcloud(self, source: StackSource) -> dict[str, str]:
        outputs = self._stacks[GOVCLOUD].deploy(
            source, lambda message: self._say("govcloud", message)
        )
        for name in ("VpnConnection1Id", "VpnConnection2Id"):
            self._attach(outputs["TransitGatewayRouteTableId"], outputs[name])
        self._say("govcloud", "both VPN connections are in the transit gateway's route table")
        return outputs

    def _attach(self, table_id: str, vpn_connection_id: str) -> None:
        """Associate a VPN connection's attachment with the link's route table, and let it propagate.

        CloudFormation's type for a VPN connection does not tell the attachment's id.
        """
        ec2 = self._clients.client("ec2", GOVCLOUD)
        attachments = ec2.describe_transit_gateway_attachments(
            Filters=[{"Name": "resource-id", "Values": [vpn_connection_id]}]
        )["TransitGatewayAttachments"]
        live = [item for item in attachments if item["State"] not in ("deleting", "deleted")]
        if not live:
            raise DeploymentError("govcloud", f"{vpn_connection_id} has no attachment")
        attachment = live[0]["TransitGatewayAttachmentId"]
        where = {
            "TransitGatewayRouteTableId": table_id,
            "TransitGatewayAttachmentId": attachment,
        }
        association = live[0].get("Association", {})
        if association.get("TransitGatewayRouteTableId") not in (None, table_id):
            raise DeploymentError(
                "govcloud",
                f"{attachment} is associated with {association['TransitGatewayRouteTableId']}",
            )
        if not association:
            ec2.associate_transit_gateway_route_table(**where)
        propagations = ec2.get_transit_gateway_route_table_propagations(
            TransitGatewayRouteTableId=table_id,
            Filters=[{"Name": "transit-gateway-attachment-id", "Values": [attachment]}],
        )["TransitGatewayRouteTablePropagations"]
        if not any(item["TransitGatewayAttachmentId"] == attachment for item in propagations):
            ec2.enable_transit_gateway_route_table_propagation(**where)

        def not_associated() -> str | None:
            found = ec2.get_transit_gateway_route_table_associations(
                TransitGatewayRouteTableId=table_id,
                Filters=[{"Name": "transit-gateway-attachment-id", "Values": [attachment]}],
            )["Associations"]
            states = [i["State"] for i in found if i["TransitGatewayAttachmentId"] == attachment]
            return (
                None
                if states == ["associated"]
                else f"{attachment} is {states or 'not associated'}"
            )

        self._until("govcloud", 300, not_associated, f"waiting for {attachment}")

    # -- credential -----------------------------------------------------------------------------

    def _provide_credential(
        self, commercial: Mapping[str, str], govcloud: Mapping[str, str]
    ) -> None:
        """A commercial access key in GovCloud's secret, made once; the check is a call with it."""
        secrets = self._clients.client("secretsmanager", GOVCLOUD)
        iam = self._clients.client("iam", COMMERCIAL)
        user = commercial["CrossPartitionUserName"]
        secret_id = govcloud["CommercialCredentialArn"]
        keys = {
            item["AccessKeyId"]: item["Status"]
            for item in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        }
        stored = _stored_credential(secrets, secret_id)
        if keys.get(stored.get("aws_access_key_id", "")) == "Active":
            self._say("credential", f"{user}: the stored key is active")
            return
        if len(keys) >= _MAXIMUM_ACCESS_KEYS:
            raise DeploymentError(
                "credential",
                f"{user} has {len(keys)} access keys and the secret holds none of them: delete one",
            )
        key = iam.create_access_key(UserName=user)["AccessKey"]
        try:
            secrets.put_secret_value(
                SecretId=secret_id,
                SecretString=json.dumps(
                    {
                        **stored,
                        "aws_access_key_id": key["AccessKeyId"],
                        "aws_secret_access_key": key["SecretAccessKey"],
                        "region": iam.meta.region_name
                        if iam.meta.region_name != "aws-global"
                        else self._clients.client("ec2", COMMERCIAL).meta.region_name,
                    }
                ),
            )
        except ClientError:
            iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
            raise

        def unknown() -> str | None:
            answer = iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])
            return None if answer.get("UserName") == user else "the new key is not known yet"

        self._until("credential", _KEY_SETTLES_SECONDS, unknown, "waiting for the new key")
        self._say(
            "credential", f"{user}: new access key stored as {govcloud['CommercialCredentialId']}"
        )

    # -- routers --------------------------------------------------------------------------------

    def _configure_routers(
        self, commercial: Mapping[str, str], govcloud: Mapping[str, str]
    ) -> None:
        ec2 = self._clients.client("ec2", GOVCLOUD)
        secrets = self._clients.client("secretsmanager", COMMERCIAL)
        parameters = self._settings.commercial_parameters
        connections = {}
        for zone, (path, output) in documents.PATH_OF_ZONE.items():
            connection = _vpn_connection(ec2, govcloud[output])
            connections[path] = govcloud[output]
            router = router_config.Router(
                name=f"twinspan-{self._settings.link_id}-router-{zone.lower()}",
                asn=int(self._settings.govcloud_parameters.get("CommercialAsn", "65001")),
                private_address=commercial[f"RouterPrivateAddress{zone}"],
                outside_address=commercial[f"RouterAddress{zone}"],
                vpc_cidr=commercial["VpcCidr"],
                advertises=(commercial[f"PrivateSubnet{zone}Cidr"], commercial["VpcCidr"]),
                accepts=(parameters.get("PeerCidr", govcloud["VpcCidr"]),),
            )
            tunnels = router_config.parse_gateway_configuration(
                connection["CustomerGatewayConfiguration"]
            )
            text = router_config.render(router, tunnels).to_json()
            secret_id = commercial[f"RouterConfiguration{zone}Arn"]
            if _secret_text(secrets, secret_id) != text:
                secrets.put_secret_value(SecretId=secret_id, SecretString=text)
                self._say("routers", f"router {zone.lower()}: configuration stored")
        if self._settings.tunnels_up_seconds:
            self._until(
                "routers",
                self._settings.tunnels_up_seconds,
                lambda: _tunnels_down(ec2, connections),
                "waiting for the tunnels (the routers look for their configuration each minute)",
            )
            self._say("routers", "all tunnels are up")

    # -- documents ------------------------------------------------------------------------------

    def _write_documents(
        self,
        sides: Mapping[str, SideFacts],
        commercial: Mapping[str, str],
        govcloud: Mapping[str, str],
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        topology = documents.compose_topology(
            self._settings.link_id,
            sides,
            commercial,
            govcloud,
            self._endpoint(commercial["BedrockEndpointId"]),
            self._settings.endpoint_overrides,
            self._settings.extra_paths,
        )
        if self._stored("topology") != topology:
            self._store("topology", topology)
        policy = self._stored("policy")
        if policy is None:
            policy = documents.first_policy(topology, self._settings.policy)
            self._store("policy", policy)
        Policy.from_json(documents.to_json(policy)).check_against(
            Topology.from_json(documents.to_json(topology))
        )
        config = self._stored("routing-config")
        if config is None:
            config = documents.first_routing_config(topology, policy)
            self._store("routing-config", config)
        else:
            self._say(
                "documents",
                f"routing config stays at generation {config['generation']}, "
                f"active path {config['active_path']}",
            )
        return topology, policy, config

    def _endpoint(self, endpoint_id: str) -> EndpointFacts:
        ec2 = self._clients.client("ec2", COMMERCIAL)
        endpoint = ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint_id])["VpcEndpoints"][0]
        interfaces = ec2.describe_network_interfaces(
            NetworkInterfaceIds=endpoint["NetworkInterfaceIds"]
        )["NetworkInterfaces"]
        subnets = ec2.describe_subnets(SubnetIds=endpoint["SubnetIds"])["Subnets"]
        return EndpointFacts.of(endpoint, interfaces, subnets)

    def _stored(self, document: str) -> dict[str, Any] | None:
        ssm = self._clients.client("ssm", GOVCLOUD)
        name = parameter_name(self._settings.link_id, document)
        try:
            text = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ParameterNotFound":
                return None
            raise
        try:
            value: dict[str, Any] = json.loads(text)
        except ValueError:
            raise DeploymentError("documents", f"{name} holds no JSON: mend or delete it") from None
        return value

    def _store(self, document: str, value: Mapping[str, Any]) -> None:
        name = parameter_name(self._settings.link_id, document)
        text = documents.to_json(value)
        self._clients.client("ssm", GOVCLOUD).put_parameter(
            Name=name, Value=text, Type="String", Overwrite=True
        )
        if self._stored(document) != json.loads(text):
            raise DeploymentError("documents", f"{name} does not hold what was written")
        self._say("documents", f"{name} written ({len(text.encode())} bytes)")


def _stored_credential(secrets: Any, secret_id: str) -> dict[str, str]:
    text = _secret_text(secrets, secret_id)
    if text is None:
        return {}
    try:
        value: dict[str, str] = json.loads(text)
    except ValueError:
        raise DeploymentError("credential", f"{secret_id} holds no JSON") from None
    return value


def _secret_text(secrets: Any, secret_id: str) -> str | None:
    try:
        text: str = secrets.get_secret_value(SecretId=secret_id)["SecretString"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None  # the secret exists, and no value was ever put into it
        raise
    return text


def _vpn_connection(ec2: Any, vpn_connection_id: str) -> dict[str, Any]:
    found = ec2.describe_vpn_connections(VpnConnectionIds=[vpn_connection_id])
    connection: dict[str, Any] = found["VpnConnections"][0]
    return connection


def _tunnels_down(ec2: Any, connections: Mapping[str, str]) -> str | None:
    found = ec2.describe_vpn_connections(VpnConnectionIds=list(connections.values()))
    names = {identifier: path for path, identifier in connections.items()}
    down = [
        f"{names[connection['VpnConnectionId']]}: {tunnel['OutsideIpAddress']} is "
        f"{tunnel['Status']} ({tunnel.get('StatusMessage', '')})"
        for connection in found["VpnConnections"]
        for tunnel in connection.get("VgwTelemetry", [])
        if tunnel["Status"] != "UP"
    ]
    return "; ".join(down) or None


class _Destroyer:
    """Takes a link down step by step; a step that fails is noted, and the next one is tried."""

    def __init__(self, clients: Clients, settings: DeploySettings, report: Report) -> None:
        self._clients, self._settings, self._report = clients, settings, report
        self._failures: list[str] = []

    def run(self) -> list[str]:
        for name, step in (
            ("documents", self._delete_documents),
            ("protection", self._lift_protection),
            ("credential", self._delete_access_keys),
            ("govcloud", lambda: self._delete_stack(GOVCLOUD, self._settings.govcloud_stack)),
            ("commercial", lambda: self._delete_stack(COMMERCIAL, self._settings.commercial_stack)),
        ):
            try:
                with _phase(name):
                    step()
            except DeploymentError as error:
                self._failures.append(str(error))
                self._report(Progress(name, f"failed: {error.reason}"))
            else:
                self._report(Progress(name, "gone"))
        return self._failures

    def _delete_documents(self) -> None:
        names = [
            parameter_name(self._settings.link_id, document)
            for document in ("routing-config", "policy", "topology")
        ]
        self._clients.client("ssm", GOVCLOUD).delete_parameters(Names=names)

    def _outputs(self, side: str, stack: str) -> dict[str, str]:
        stacks = Stacks(self._clients.client("cloudformation", side))
        return stacks.outputs(stack) or {}

    def _lift_protection(self) -> None:
        outputs = self._outputs(GOVCLOUD, self._settings.govcloud_stack)
        dynamodb = self._clients.client("dynamodb", GOVCLOUD)
        for name in ("StateTableName", "AuditTableName"):
            if name in outputs:
                dynamodb.update_table(TableName=outputs[name], DeletionProtectionEnabled=False)
        if "EvidenceBucketName" in outputs:
            self._empty(outputs["EvidenceBucketName"])

    def _empty(self, bucket: str) -> None:
        s3 = self._clients.client("s3", GOVCLOUD)
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if entries:
                objects = [{"Key": e["Key"], "VersionId": e["VersionId"]} for e in entries]
                s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})

    def _delete_access_keys(self) -> None:
        user = self._outputs(COMMERCIAL, self._settings.commercial_stack).get(
            "CrossPartitionUserName"
        )
        if user is None:
            return
        iam = self._clients.client("iam", COMMERCIAL)
        for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])

    def _delete_stack(self, side: str, stack: str) -> None:
        client = self._clients.client("cloudformation", side)
        Stacks(client, self._settings.poll_seconds).delete(stack)


class AwsClients:
    """Clients of both partitions, from two named profiles of the AWS configuration."""

    def __init__(self, profiles: Mapping[str, str], regions: Mapping[str, str]) -> None:
        self._sessions = {
            side: boto3.Session(profile_name=profiles[side], region_name=regions[side])
            for side in (GOVCLOUD, COMMERCIAL)
        }
        self._made: dict[tuple[str, str], Any] = {}

    def client(self, service: str, side: str) -> Any:
        """A client; each is made once."""
        key = (service, side)
        if key not in self._made:
            self._made[key] = self._sessions[side].client(service)  # type: ignore[call-overload]
        return self._made[key]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    try:
        settings = _settings(options)
        clients = AwsClients(
            {GOVCLOUD: options.govcloud_profile, COMMERCIAL: options.commercial_profile},
            {GOVCLOUD: options.govcloud_region, COMMERCIAL: options.commercial_region},
        )
        if options.command == "destroy":
            failures = destroy(clients, settings, delete_data=options.delete_data, report=_print)
            for failure in failures:
                print(f"error: {failure}", file=sys.stderr)
            return 1 if failures else 0
        if options.plan:
            for planned in plan(clients, settings, _print):
                print(f"{planned.stack}: {len(planned.changes)} changes")
                for change in planned.changes:
                    print(f"  {change}")
            return 0
        deployment = deploy(clients, settings, _print)
    except (DeploymentError, BotoCoreError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"link {deployment.link_id}: {deployment.govcloud['ApiUrl']}")
    return 0


def _print(progress: Progress) -> None:
    print(f"{progress.phase:<10} {progress.message}", flush=True)


def _settings(options: argparse.Namespace) -> DeploySettings:
    parameters: dict[str, dict[str, str]] = {GOVCLOUD: {}, COMMERCIAL: {}}
    for item in options.parameter:
        side, _, assignment = item.partition(":")
        name, equals, value = assignment.partition("=")
        if side not in parameters or not equals:
            raise ValueError(
                f"--parameter {item}: wanted govcloud:Name=Value or commercial:Name=Value"
            )
        parameters[side][name] = value
    policy = json.loads(options.policy.read_text()) if options.policy else None
    return DeploySettings(
        link_id=options.link,
        govcloud_parameters=parameters[GOVCLOUD],
        commercial_parameters=parameters[COMMERCIAL],
        artifact_bucket=options.artifact_bucket,
        policy=policy,
        tunnels_up_seconds=options.tunnels_up_seconds,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy",
        description="Deploy a link to both partitions, show what would change, or take it down.",
        epilog="Two profiles of the AWS configuration are needed, one per partition.",
    )
    parser.add_argument("command", nargs="?", choices=("deploy", "destroy"), default="deploy")
    parser.add_argument("--link", default="bedrock", help="the link's id (default: %(default)s)")
    parser.add_argument("--plan", action="store_true", help="show the change sets, change nothing")
    parser.add_argument(
        "--delete-data", action="store_true", help="destroy: state and evidence too"
    )
    parser.add_argument("--govcloud-profile", default="govcloud", metavar="NAME")
    parser.add_argument("--commercial-profile", default="commercial", metavar="NAME")
    parser.add_argument("--govcloud-region", default="us-gov-west-1", metavar="REGION")
    parser.add_argument("--commercial-region", default="us-east-1", metavar="REGION")
    parser.add_argument("--artifact-bucket", metavar="NAME", help="made if it does not exist")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the first policy, as JSON")
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="SIDE:NAME=VALUE",
        help="a template parameter, such as commercial:RouterImageId=ami-…; may be repeated",
    )
    parser.add_argument(
        "--tunnels-up-seconds",
        type=float,
        default=1800.0,
        metavar="N",
        help="how long to wait for the tunnels, 0 for not at all (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
