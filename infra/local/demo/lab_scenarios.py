"""What the demo plays in the lab: troubles that only a real tunnel can have, and what an observer sees.

The scenarios of `scenarios` run there too (`demo --lab`); these run nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local.demo.scenarios import Scenario, Stage, common_break, common_heal
from infra.local.demo.traffic import wait_for_calls
from infra.local.faults import LAB_ONLY, FaultKind

if TYPE_CHECKING:
    from infra.local.lab.network import LabNetwork

PREFERRED = "tunnel-1"
_SLOW_MILLISECONDS = 300
_ROUND_TRIP_MILLISECONDS = 70
_CALLS_WHILE_DEGRADED = 200
_SECONDS = 60.0


def _dies(kind: FaultKind) -> Scenario:
    """A scenario in which a fault kills connection 1: traffic leaves, and comes back."""

    def scenario(stage: Stage) -> None:
        faults = stage.cloud.faults
        common_break(stage, f"{kind} tunnel-1", lambda: faults.inject(PREFERRED, kind))
        common_heal(stage, "heal tunnel-1", lambda: faults.heal(PREFERRED))

    scenario.__doc__ = f"Over connection 1 {LAB_ONLY[kind]}; traffic moves and comes back."
    return scenario


def _gets_worse(kind: FaultKind) -> Scenario:
    """A scenario in which connection 1 goes on carrying: no call may fail, wherever it goes."""

    def scenario(stage: Stage) -> None:
        faults = stage.cloud.faults
        stage.breaks(f"{kind} tunnel-1", lambda: _worsen(stage, kind))
        wait_for_calls(
            stage.traffic,
            lambda calls: len(calls) >= _CALLS_WHILE_DEGRADED,
            stage.broke_at,
            _SECONDS,
        )
        stage.expect_no_failed_call()
        stage.heals("heal tunnel-1", lambda: faults.heal(PREFERRED))
        stage.expect_active(PREFERRED, _SECONDS)
        stage.expect_traffic_on(PREFERRED, _SECONDS)
        stage.expect_routes_agree()

    meaning = LAB_ONLY.get(kind, f"every round trip takes {_SLOW_MILLISECONDS} ms longer")
    scenario.__doc__ = f"Over connection 1 {meaning}; it carries all the same, and no call fails."
    return scenario


def _worsen(stage: Stage, kind: FaultKind) -> None:
    if kind is FaultKind.SLOW:
        stage.cloud.faults.slow(PREFERRED, _SLOW_MILLISECONDS)
    else:
        stage.cloud.faults.inject(PREFERRED, kind)


def encryption(stage: Stage) -> None:
    """Every underlay is captured while calls are made: IKE and ESP, and no word of prompt or completion."""
    from infra.local.demo.play import MODEL_ID
    from infra.local.lab.encryption import CALLS, examine

    stage.say("capture both underlays and the inside of a tunnel; call, with markers")
    seen = examine(stage.cloud, _network(stage), MODEL_ID)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.underlay.items()))
    stage.promise("every call was answered", seen.answered == CALLS, f"{seen.answered} of {CALLS}")
    stage.promise("no marker stands on an underlay", not seen.leaked, kinds)
    allowed = {"IKE", "ESP", "keepalive", "ARP"}
    stage.promise("the underlays carry IKE and ESP alone", set(seen.underlay) <= allowed, kinds)
    stage.promise("the same capture finds the markers inside the tunnel", len(seen.inside) == 2)
    stage.promise("and a marker that is put onto an underlay in the clear", seen.control)
    for device, suite in seen.suites.items():
        strong = suite is not None and (
            (suite.ike_encryption, suite.ike_key_bits) == ("AES_GCM_16", 256)
            and (suite.esp_encryption, suite.esp_key_bits) == ("AES_GCM_16", 256)
        )
        stage.promise(f"{device} uses AES-256-GCM for IKE and ESP", strong, str(suite))


def isolation(stage: Stage) -> None:
    """Everything is tried from where the functions are; the endpoints and the control channel answer."""
    from infra.local.lab import isolation as lab_isolation

    network = _network(stage)
    stage.say("try every address of the lab, of this machine, and some of the internet's")
    found = lab_isolation.explore(stage.cloud, network)
    allowed = lab_isolation.allowed(stage.cloud, network)
    listed = ", ".join(f"{address}:{port}" for address, port in sorted(found.answered))
    stage.promise(
        "the endpoints and the control channel answer, and nothing else",
        found.answered == allowed and not found.pinged,
        f"{found.tried} tried; {listed}",
    )
    stage.promise("there is no default route", not found.has_default_route)


def latency(stage: Stage) -> None:
    """The endpoints are 35 ms away, each way; a hundred calls are timed."""
    from infra.local.demo.play import MODEL_ID
    from infra.local.lab.latency import measure

    faults = stage.cloud.faults

    def far_away() -> None:
        for path in ("tunnel-1", "tunnel-2"):
            faults.slow(path, _ROUND_TRIP_MILLISECONDS)

    stage.breaks("35 ms each way on every tunnel", far_away)
    seen = measure(stage.cloud, _network(stage), MODEL_ID)
    stage.promise(
        "the mean is below 500 ms", seen.mean_seconds < 0.5 and not seen.failed, str(seen)
    )
    stage.promise("the 95th percentile is below 1 s", seen.p95_seconds < 1.0)


def _network(stage: Stage) -> LabNetwork:
    from infra.local.lab.plane import LabPlane

    plane = stage.cloud.plane
    assert isinstance(plane, LabPlane), "played in the lab"
    return plane.network


LAB_SCENARIOS: dict[str, Scenario] = {
    **{
        str(kind): _dies(kind)
        for kind in (
            FaultKind.KILL_IKE,
            FaultKind.DROP_ESP,
            FaultKind.WRONG_KEY,
            FaultKind.ONE_WAY,
            FaultKind.SMALL_MTU,
        )
    },
    **{
        str(kind): _gets_worse(kind)
        for kind in (FaultKind.WITHDRAW, FaultKind.LOSS, FaultKind.SLOW)
    },
    "encryption": encryption,
    "isolation": isolation,
    "latency": latency,
}
