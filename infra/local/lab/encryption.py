"""Nothing readable on the underlays: inference calls and a plaintext exchange, captured outside and inside.

The endpoints speak TLS, which would hide a prompt by itself; so the same markers also go through the tunnel
without it, and only IPsec is left to hide them. That the captures can find a marker is shown on the same
tools: inside the tunnel, and in a packet put onto the underlay in the clear.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.local.environment import Environment
from infra.local.lab import captures, security_groups
from infra.local.lab.network import (
    ALL_TUNNELS,
    ENDPOINTS,
    FUNCTION,
    GATEWAY,
    INTERNETS,
    LabNetwork,
    TunnelId,
)
from infra.local.lab.plane import ENDPOINT_PORT
from infra.local.lab.tunnels import Suite

CALLS = 20
_PLAIN_PORT = 8081
_SECONDS = 10.0
_MARK = 0x42


@dataclass(frozen=True, slots=True)
class Encryption:
    """What the captures held.

    `answered` of `CALLS` inference calls; `underlay`: packets by kind on both underlays; `leaked`: markers
    found there; `inside`: markers found inside the tunnel; `control`: whether a marker in the clear on an
    underlay is found; `suites`: what each tunnel negotiated.
    """

    answered: int
    underlay: Counter[str]
    leaked: tuple[str, ...]
    inside: tuple[str, ...]
    control: bool
    suites: dict[str, Suite | None]


def examine(environment: Environment, network: LabNetwork, model_id: str) -> Encryption:
    """Make the calls and the exchange under capture; see the module's description."""
    prompt, completion = (f"{kind}-{secrets.token_hex(12)}" for kind in ("prompt", "completion"))
    underlays = [(name, "any") for name in INTERNETS]
    device = TunnelId(1, 1).device
    spaces = network.spaces
    with captures.on(spaces, *underlays, (GATEWAY, device)) as found:
        for tunnel in ALL_TUNNELS:
            network.amazon[tunnel].rekey()  # so that a key exchange is in the capture too
        answers = [_call(environment.proxy_url, model_id, prompt) for _ in range(CALLS)]
        security_groups.apply(network, ENDPOINT_PORT, _PLAIN_PORT)
        _exchange_in_plain(network, prompt, completion)
        security_groups.apply(network, ENDPOINT_PORT)
    *outside, inside = found
    answered = [text for text in answers if text]
    markers = {prompt, completion, *answered}
    return Encryption(
        answered=len(answered),
        underlay=sum((one.kinds for one in outside), Counter()),
        leaked=tuple(m for m in markers if any(one.holds(m.encode()) for one in outside)),
        inside=tuple(m for m in (prompt, completion) if inside.holds(m.encode())),
        control=_found_in_the_clear(network, prompt),
        suites={tunnel.device: network.amazon[tunnel].suite() for tunnel in ALL_TUNNELS},
    )


def _call(proxy_url: str, model_id: str, prompt: str) -> str:
    """One inference call; returns the completion's beginning, or nothing if there was none."""
    connection = http.client.HTTPConnection(urlsplit(proxy_url).netloc, timeout=_SECONDS)
    body = {"messages": [{"role": "user", "content": [{"text": prompt}]}]}
    try:
        connection.request(
            "POST",
            f"/model/{model_id}/converse",
            json.dumps(body),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        document = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        return ""
    return str(document["output"]["message"]["content"][0]["text"])[:60]


def _exchange_in_plain(network: LabNetwork, prompt: str, completion: str) -> None:
    """A POST without TLS to an endpoint's namespace, and its answer."""
    address = network.plan_or_raise().endpoint_addresses[0]
    listener = network.spaces.listener(ENDPOINTS[0], address, _PLAIN_PORT)

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + completion.encode())

    with (
        listener,
        network.spaces.new_socket(FUNCTION, socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.settimeout(_SECONDS)
        client.settimeout(_SECONDS)
        service = threading.Thread(target=answer, daemon=True)
        service.start()
        client.connect((address, _PLAIN_PORT))
        client.sendall(b"POST / HTTP/1.1\r\nHost: plain\r\n\r\n" + prompt.encode())
        while client.recv(1 << 16):
            pass
        service.join(_SECONDS)


def _found_in_the_clear(network: LabNetwork, marker: str) -> bool:
    """Whether a capture on an underlay finds a marker that was put there unencrypted."""
    tunnel = TunnelId(1, 1)
    peer = network.plan_or_raise().routers[0].tunnels[0].outside_peer
    sender = network.spaces.new_socket(tunnel.router_end, socket.AF_INET, socket.SOCK_DGRAM)
    # Marked as IKE's own packets are, which do not go into the tunnel.
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK)
    with sender, captures.on(network.spaces, (INTERNETS[0], "any")) as found:
        sender.sendto(marker.encode(), (peer, 500))
    return found[0].holds(marker.encode())
