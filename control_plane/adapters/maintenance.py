"""Asking AWS about announced replacements of VPN tunnels.

There is no event for them: `GetVpnTunnelReplacementStatus` is polled, one call for each tunnel. EC2's reference
leaves open what `PendingMaintenance` says where nothing is pending, so every plain word for "no" is read as that,
and a date alone as "yes". That a tunnel could not be asked about leaves it out, which is why callers
get None, "not observed", unless every tunnel was answered for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from control_plane.adapters.aws import calling
from control_plane.domain.observation import PendingMaintenance
from control_plane.errors import AwsRefused, AwsUnavailable

_NOTHING = frozenset({"", "none", "no", "false"})


def pending_maintenance(
    ec2: Any, vpn_connection_id: str, outside_ips: Iterable[str]
) -> tuple[PendingMaintenance, ...] | None:
    """What is pending on these tunnels of one connection; None where EC2 would not or could not say."""
    found = []
    try:
        for outside_ip in outside_ips:
            with calling("ec2:GetVpnTunnelReplacementStatus"):
                answer = ec2.get_vpn_tunnel_replacement_status(
                    VpnConnectionId=vpn_connection_id, VpnTunnelOutsideIpAddress=outside_ip
                )
            details = answer.get("MaintenanceDetails") or {}
            due_at = details.get("MaintenanceAutoAppliedAfter")
            said = str(details.get("PendingMaintenance") or "").lower()
            if said not in _NOTHING or due_at is not None:
                found.append(PendingMaintenance(outside_ip=outside_ip, due_at=due_at))
    except (AwsUnavailable, AwsRefused):
        return None
    return tuple(found)
