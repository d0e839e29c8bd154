"""What is connected to what, whatever the route tables say: the graph of VPCs, gateways and connections.

Routes decide where packets go; the topology bounds where they *could* go with other routes. Explanations use it to see
whether any set of route changes can help, isolation checks to leave out what no route can lead to the internet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import networkx as nx

from control_plane.domain.route_model.facts import VpnConnection
from control_plane.domain.route_model.observed import Facts

INTERNET = "internet"


@dataclass
class Topology:
    """An undirected graph; nodes are resource ids with a `kind`, and `internet`."""

    graph: nx.Graph[str] = field(default_factory=nx.Graph)
    _component: dict[str, int] = field(default_factory=dict)
    _near_internet: frozenset[str] = frozenset()

    @classmethod
    def of(cls, facts: Facts, routers: Iterable[tuple[VpnConnection, str]]) -> Topology:
        """From the facts; `routers` says in which VPC a connection's customer gateway is, where it is in one."""
        graph: nx.Graph[str] = nx.Graph()
        graph.add_node(INTERNET, kind=INTERNET)
        for vpc_id in facts.vpcs:
            graph.add_node(vpc_id, kind="vpc")
        for gateways, kind in (
            (facts.internet_gateways, "internet-gateway"),
            (facts.egress_only_gateways, "egress-only-internet-gateway"),
        ):
            for gateway_id, vpc_ids in gateways.items():
                graph.add_node(gateway_id, kind=kind)
                graph.add_edge(gateway_id, INTERNET)
                graph.add_edges_from((gateway_id, vpc_id) for vpc_id in vpc_ids)
        for peering in facts.peerings.values():
            graph.add_node(peering.id, kind="vpc-peering-connection")
            graph.add_edges_from((peering.id, vpc_id) for vpc_id in peering.vpc_ids)
        for attachment in facts.attachments.values():
            if attachment.resource_id:
                graph.add_node(attachment.transit_gateway_id, kind="transit-gateway")
                graph.add_edge(
                    attachment.transit_gateway_id, attachment.resource_id, attachment=attachment.id
                )
        for gateway in facts.vpn_gateways.values():
            graph.add_node(gateway.id, kind="virtual-private-gateway")
            if gateway.vpc_id:
                graph.add_edge(gateway.id, gateway.vpc_id)
        for connection in facts.vpn_connections.values():
            graph.add_node(connection.id, kind="vpn-connection")
            for end in (connection.gateway_id, connection.transit_gateway_id):
                if end:
                    graph.add_edge(connection.id, end)
        for connection, vpc_id in routers:
            graph.add_edge(connection.id, vpc_id)
        if "InternetGateways" not in facts.observed:
            for vpc_id, gateway_id in facts.routed_gateways.items():
                graph.add_node(gateway_id, kind="internet-gateway")
                graph.add_edges_from(((gateway_id, INTERNET), (gateway_id, vpc_id)))
        near = frozenset(nx.node_connected_component(graph, INTERNET))
        topology = cls(graph, _near_internet=near)
        # Being joined through the internet is no connection for private addresses: leave it out of the components.
        inner = graph.subgraph(node for node in graph if node != INTERNET)
        for number, component in enumerate(nx.connected_components(inner)):
            for node in component:
                topology._component[node] = number
        return topology

    def connected(self, first: str, second: str) -> bool:
        """Whether some chain of attachments, peerings and VPN connections joins the two."""
        one = self._component.get(first)
        return one is not None and one == self._component.get(second)

    def may_reach_internet(self, node: str) -> bool:
        """Whether an internet gateway is anywhere in what this node is connected to."""
        return node in self._near_internet
