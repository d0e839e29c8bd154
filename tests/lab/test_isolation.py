"""What the functions' network lets out: the endpoints, the control channel, nothing else."""

from __future__ import annotations

from infra.local.demo.play import MODEL_ID
from infra.local.demo.traffic import Traffic
from infra.local.environment import Environment
from infra.local.lab import captures, isolation
from infra.local.lab.network import FUNCTION, INTERNETS, LabNetwork


def test_functions_reach_the_endpoints_and_the_control_channel_alone(whole: Environment) -> None:
    """Of hundreds of addresses and ports tried, the two endpoints' HTTPS and the AWS APIs answer."""
    network: LabNetwork = whole.plane.network
    found = isolation.explore(whole, network)
    assert found.tried > 200
    assert found.answered == isolation.allowed(whole, network)
    assert found.pinged == frozenset()
    assert not found.has_default_route


def test_with_both_tunnels_dead_there_is_no_way_out_and_the_proxy_fails_closed(
    whole: Environment,
) -> None:
    """Calls get 503 with Retry-After, nothing but IKE leaves, and nothing but the control channel answers."""
    network: LabNetwork = whole.plane.network
    for path in ("tunnel-1", "tunnel-2"):
        whole.faults.cut(path)
    assert network.wait_for(lambda: not any(state.is_up for state in network.states().values()), 30)
    with captures.on(network.spaces, *((name, "any") for name in INTERNETS)) as outside:
        traffic = Traffic(whole.proxy_url, MODEL_ID, 10.0)
        traffic.start()
        assert network.wait_for(lambda: len(traffic.calls()) >= 20, 60)
        traffic.stop()
        found = isolation.explore(whole, network)
    assert {(call.status, call.retry_after is not None) for call in traffic.calls()} == {
        (503, True)
    }
    endpoints = {(address, 443) for address in network.plan_or_raise().endpoint_addresses}
    assert found.answered == isolation.allowed(whole, network) - endpoints
    assert "172.16.0.0/16" in network.spaces.run(FUNCTION, ["ip", "route"])
    assert set().union(*(one.kinds for one in outside)) <= {"IKE", "ESP", "keepalive", "ARP"}
