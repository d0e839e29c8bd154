"""A VPN connection's attachment in the transit gateway's route table.

CloudFormation's type for a VPN connection does not tell the attachment's id, so associating it and letting it
propagate is the deployment's work.
"""

from __future__ import annotations

from infra.deploy.progress import DeploymentError
from infra.deploy.run import Run
from infra.deploy.settings import GOVCLOUD

_ASSOCIATION_SECONDS = 300.0


def attach(run: Run, phase: str, table_id: str, vpn_connection_id: str) -> None:
    """Associate the connection's attachment with the table and let it propagate; again changes nothing.

    Raises:
        DeploymentError: it has no attachment, or one that belongs to another table.
    """
    ec2 = run.client("ec2", GOVCLOUD)
    attachments = ec2.describe_transit_gateway_attachments(
        Filters=[{"Name": "resource-id", "Values": [vpn_connection_id]}]
    )["TransitGatewayAttachments"]
    live = [item for item in attachments if item["State"] not in ("deleting", "deleted")]
    if not live:
        raise DeploymentError(phase, f"{vpn_connection_id} has no attachment")
    attachment = live[0]["TransitGatewayAttachmentId"]
    where = {"TransitGatewayRouteTableId": table_id, "TransitGatewayAttachmentId": attachment}
    association = live[0].get("Association", {})
    if association.get("TransitGatewayRouteTableId") not in (None, table_id):
        raise DeploymentError(
            phase,
            f"{attachment} is associated with {association['TransitGatewayRouteTableId']}",
        )
    only_this = [{"Name": "transit-gateway-attachment-id", "Values": [attachment]}]
    if not association:
        ec2.associate_transit_gateway_route_table(**where)
    propagations = ec2.get_transit_gateway_route_table_propagations(
        TransitGatewayRouteTableId=table_id, Filters=only_this
    )["TransitGatewayRouteTablePropagations"]
    if not any(item["TransitGatewayAttachmentId"] == attachment for item in propagations):
        ec2.enable_transit_gateway_route_table_propagation(**where)

    def not_associated() -> str | None:
        found = ec2.get_transit_gateway_route_table_associations(
            TransitGatewayRouteTableId=table_id, Filters=only_this
        )["Associations"]
        states = [i["State"] for i in found if i["TransitGatewayAttachmentId"] == attachment]
        return None if states == ["associated"] else f"{attachment} is {states or 'not associated'}"

    run.until(phase, _ASSOCIATION_SECONDS, not_associated)
