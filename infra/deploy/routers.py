"""Phase `routers`: each edge router's configuration in its secret, then all tunnels up and BGP established."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra import documents, router_config
from infra.deploy import secret_values
from infra.deploy.progress import DeploymentError, Trigger
from infra.deploy.run import Before, Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD

NAME = "routers"


class Routers:
    """See the module's description."""

    name = NAME
    needs: tuple[str, ...] = ("commercial", "govcloud")

    def require(self, run: Run) -> None:
        """Both VPN connections are available and tell their tunnels."""
        for connection in _connections(run).values():
            if not connection.get("CustomerGatewayConfiguration"):
                raise DeploymentError(
                    NAME,
                    f"{connection['VpnConnectionId']} is {connection['State']} and has no "
                    "configuration for its customer gateway",
                )

    def before(self, run: Run) -> Before:
        """Which version of each router's configuration was current."""
        secrets = run.client("secretsmanager", COMMERCIAL)
        return {
            zone: secret_values.current(secrets, run.commercial[_secret(zone)])[1]
            for zone in documents.PATH_OF_ZONE
        }

    def act(self, run: Run) -> None:
        """Store each configuration that differs; the routers look for theirs each minute."""
        secrets = run.client("secretsmanager", COMMERCIAL)
        connections = _connections(run)
        for zone in documents.PATH_OF_ZONE:
            tunnels = router_config.parse_gateway_configuration(
                connections[zone]["CustomerGatewayConfiguration"]
            )
            text = router_config.render(_router(run, zone), tunnels).to_json()
            if secret_values.current(secrets, run.commercial[_secret(zone)])[0] != text:
                secrets.put_secret_value(SecretId=run.commercial[_secret(zone)], SecretString=text)
                run.say(NAME, f"router {zone.lower()}: configuration stored")

    def check(self, run: Run) -> None:
        """Every tunnel is up; over each that speaks BGP, routes are accepted."""
        seconds = run.settings.tunnels_up_seconds
        if not seconds:
            return

        def down() -> str | None:
            found = _connections(run)
            return _tunnels_down(
                {path: found[zone] for zone, (path, _) in documents.PATH_OF_ZONE.items()}
            )

        run.until(NAME, seconds, down, Trigger.TUNNEL_NOT_UP)
        run.say(NAME, "all tunnels are up, and BGP is established over each")

    def undo(self, run: Run, before: Before) -> str:
        """The versions before, current again; a router takes them up within a minute."""
        secrets = run.client("secretsmanager", COMMERCIAL)
        if not run.commercial:
            return "no commercial stack, so no routers"
        moved = [
            zone.lower()
            for zone, version_id in before.items()
            if version_id is not None
            and secret_values.move_back(secrets, run.commercial[_secret(zone)], version_id)
        ]
        first = [zone.lower() for zone, version_id in before.items() if version_id is None]
        if first:
            return f"router {' and '.join(first)}: the first configuration stays, since none was before it"
        return (
            f"router {' and '.join(moved)}: previous configuration"
            if moved
            else "nothing was changed"
        )


def _secret(zone: str) -> str:
    return f"RouterConfiguration{zone}Arn"


def _router(run: Run, zone: str) -> router_config.Router:
    commercial = run.commercial
    return router_config.Router(
        link_id=run.settings.link_id,
        name=f"twinspan-{run.settings.link_id}-router-{zone.lower()}",
        asn=int(run.settings.govcloud_parameters.get("CommercialAsn", "65001")),
        private_address=commercial[f"RouterPrivateAddress{zone}"],
        outside_address=commercial[f"RouterAddress{zone}"],
        vpc_cidr=commercial["VpcCidr"],
        advertises=(commercial[f"PrivateSubnet{zone}Cidr"], commercial["VpcCidr"]),
        accepts=(run.settings.commercial_parameters.get("PeerCidr", run.govcloud["VpcCidr"]),),
    )


def _connections(run: Run) -> dict[str, dict[str, Any]]:
    """The VPN connection of each zone."""
    ids = {zone: run.govcloud[output] for zone, (_, output) in documents.PATH_OF_ZONE.items()}
    found = run.client("ec2", GOVCLOUD).describe_vpn_connections(VpnConnectionIds=[*ids.values()])
    by_id = {item["VpnConnectionId"]: item for item in found["VpnConnections"]}
    return {zone: by_id[identifier] for zone, identifier in ids.items()}


def _tunnels_down(connections: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is not as it should be, by path; None when all is.

    A tunnel with BGP counts as up only once BGP is established; that it then also accepted a route is asked
    because a session that carries nothing leads nowhere.
    """
    down = []
    for path, connection in connections.items():
        telemetry = connection.get("VgwTelemetry", [])
        if not telemetry:
            down.append(f"{path}: {connection['VpnConnectionId']} tells nothing of its tunnels")
        speaks_bgp = not connection.get("Options", {}).get("StaticRoutesOnly", False)
        for tunnel in telemetry:
            where = f"{path}: {tunnel['OutsideIpAddress']}"
            if tunnel["Status"] != "UP":
                down.append(f"{where} is {tunnel['Status']} ({tunnel.get('StatusMessage', '')})")
            elif speaks_bgp and not tunnel.get("AcceptedRouteCount"):
                down.append(f"{where} is UP and has accepted no route")
    return "; ".join(down) or None
