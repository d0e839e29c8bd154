"""What an observer on the way sees of inference calls: IKE and ESP, and no word of them."""

from __future__ import annotations

from infra.local.demo.play import MODEL_ID
from infra.local.environment import Environment
from infra.local.lab.encryption import CALLS, examine
from infra.local.lab.tunnels import Suite


def test_nothing_of_a_call_can_be_read_on_any_underlay(whole: Environment) -> None:
    """Prompt and completion stand on no underlay, with TLS or without, and the same capture finds them inside."""
    seen = examine(whole, whole.plane.network, MODEL_ID)
    assert seen.answered == CALLS
    assert seen.leaked == ()
    assert len(seen.inside) == 2, "the plaintext exchange went through the tunnel"
    assert seen.control, "the capture finds a marker that is in the clear"
    assert set(seen.underlay) <= {"IKE", "ESP", "keepalive", "ARP"}
    assert seen.underlay["IKE"] > 0
    assert seen.underlay["ESP"] > CALLS
    assert len(seen.suites) == 4
    assert set(seen.suites.values()) == {Suite("AES_GCM_16", 256, "AES_GCM_16", 256)}
