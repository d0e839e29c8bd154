"""The templates' security groups, as far as they concern what comes from GovCloud."""

from __future__ import annotations

from infra.local.lab.network import ENDPOINTS, ROUTERS, LabNetwork


def apply(network: LabNetwork, *ports: int) -> None:
    """Endpoints take these TCP ports from GovCloud and nothing else; routers take nothing of it from the
    VPC's side, and what comes out of a tunnel is their own rendered filter's business."""
    plan = network.plan_or_raise()
    listed = ", ".join(str(port) for port in ports)
    endpoint = f"""\
iifname "lo" accept
    ip saddr {plan.govcloud_cidr} tcp dport {{ {listed} }} accept
    drop"""
    router = f"""\
iifname "eni0" ip saddr {plan.commercial_cidr} tcp dport 443-65535 accept
    iifname "eni0" drop"""
    for names, rules in ((ENDPOINTS, endpoint), (ROUTERS, router)):
        for name in names:
            network.spaces.nft(name, _input_filter(rules))


def _input_filter(rules: str) -> str:
    return f"""\
table inet group
delete table inet group
table inet group {{
  chain input {{
    type filter hook input priority filter; policy accept;
    {rules}
  }}
}}
"""
