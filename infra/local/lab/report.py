"""One table on every fault: who noticed, how soon calls and config moved, what it cost, whether labels told the truth."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from infra.local.demo.play import CALLS_PER_SECOND, EXIT_BROKEN, EXIT_HELD, MODEL_ID
from infra.local.demo.scenarios import POLICY
from infra.local.demo.traffic import Traffic
from infra.local.demo.watch import Watcher
from infra.local.environment import Environment
from infra.local.faults import LAB_ONLY, FaultKind
from infra.local.lab import latency
from infra.local.lab.outages import PREFERRED, Outage, Scene
from infra.local.lab.plane import LabPlane
from infra.local.lab.repairs import LONGEST_BYTES, LOSS_PERCENT
from infra.local.lab.witness import Witness

LAB_POLICY = POLICY | {"maximum_switches_per_hour": 60}
"""The demo's, but that a row of outages is not held back as one flapping path would be."""
SLOW_MILLISECONDS = 300
ROUND_TRIP_MILLISECONDS = 70
BOUND_WHILE_DEGRADED = 0.01
"""Of the calls while a path only gets worse; it is 0 where the path dies."""


@dataclass(frozen=True, slots=True)
class FaultCase:
    """A row of the table. `is_fatal`: the path is gone, so that the link has to move."""

    name: str
    meaning: str
    is_fatal: bool

    def bring_about(self, environment: Environment) -> None:
        """Bring it about on connection 1."""
        if self.name == FaultKind.SLOW:
            environment.faults.slow(PREFERRED, SLOW_MILLISECONDS)
        else:
            environment.faults.inject(PREFERRED, FaultKind(self.name))

    def held(self, seen: Outage) -> bool:
        """Whether what was promised for it is what was seen."""
        honest = seen.labels.truthful == seen.labels.checked > 0
        if self.is_fatal:
            kept = seen.failed_calls == 0 and seen.switched
        else:
            kept = seen.failed_calls <= BOUND_WHILE_DEGRADED * seen.calls
        return kept and honest and seen.returned_to_preferred


FAULT_CASES = (
    FaultCase(FaultKind.KILL_IKE, LAB_ONLY[FaultKind.KILL_IKE], is_fatal=True),
    FaultCase(FaultKind.DROP_ESP, LAB_ONLY[FaultKind.DROP_ESP], is_fatal=True),
    FaultCase(FaultKind.CUT, "the underlay carries nothing", is_fatal=True),
    FaultCase(FaultKind.BLACKHOLE, "traffic vanishes while IKE and BGP go on", is_fatal=True),
    FaultCase(FaultKind.WRONG_KEY, LAB_ONLY[FaultKind.WRONG_KEY], is_fatal=True),
    FaultCase(FaultKind.ONE_WAY, LAB_ONLY[FaultKind.ONE_WAY], is_fatal=True),
    FaultCase(
        FaultKind.SMALL_MTU, f"packets above {LONGEST_BYTES} bytes vanish silently", is_fatal=True
    ),
    FaultCase(FaultKind.WITHDRAW, LAB_ONLY[FaultKind.WITHDRAW], is_fatal=False),
    FaultCase(FaultKind.LOSS, f"{LOSS_PERCENT} % of packets vanish, each way", is_fatal=False),
    FaultCase(FaultKind.SLOW, f"round trips take {SLOW_MILLISECONDS} ms longer", is_fatal=False),
)


@contextlib.contextmanager
def scene(environment: Environment) -> Iterator[Scene]:
    """Callers, watcher and witness on an environment in the lab."""
    plane = environment.plane
    assert isinstance(plane, LabPlane), "an environment in the lab"
    traffic = Traffic(environment.proxy_url, MODEL_ID, CALLS_PER_SECOND)
    watcher = Watcher(environment, lambda happening: None)
    with Witness(plane.network) as witness:
        watcher.start()
        traffic.start()
        try:
            yield Scene(environment, traffic, watcher, witness)
        finally:
            traffic.stop()
            watcher.stop()


def play(stage: Scene, case: FaultCase) -> Outage:
    """One fault, from the break to the return."""
    return stage.play(
        case.name,
        lambda: case.bring_about(stage.environment),
        lambda: stage.environment.faults.heal(PREFERRED),
        may_stay=not case.is_fatal,
    )


def report(console: Console) -> int:
    """Play every fault and print the table; returns the exit code: 0 only if every promise held."""
    began = time.monotonic()
    with Environment(policy=LAB_POLICY, lab=True) as environment:
        console.print(
            f"The lab is up in {time.monotonic() - began:.0f} s. Connection 1 is broken in "
            f"{len(FAULT_CASES)} ways under {CALLS_PER_SECOND:g} calls a second."
        )
        with scene(environment) as stage:
            seen = []
            for case in FAULT_CASES:
                console.print(f"  {case.name}: {case.meaning} …")
                seen.append(play(stage, case))
        far = _far(environment)
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(_table(seen))
    console.print(f"35 ms each way: {far}", highlight=False)
    console.print(_FOOTNOTE, highlight=False)
    broken = [t.name for t, outage in zip(FAULT_CASES, seen, strict=True) if not t.held(outage)]
    console.print(
        f"[bold red]not held: {', '.join(broken)}[/]" if broken else "Every promise held."
    )
    return EXIT_BROKEN if broken else EXIT_HELD


def _far(environment: Environment) -> latency.Latency:
    plane = environment.plane
    assert isinstance(plane, LabPlane), "an environment in the lab"
    for path in ("tunnel-1", "tunnel-2"):
        environment.faults.slow(path, ROUND_TRIP_MILLISECONDS)
    return latency.measure(environment, plane.network, MODEL_ID)


_TABLE_WIDTH = 124
_EVIDENCE = {"probe": "probes answered", "telemetry": "tunnels are DOWN", "calls": "calls fail"}
_FOOTNOTE = (
    "In seconds: from the break to AWS's report of a tunnel DOWN, to the first call answered over the other "
    "path, to the published switch; from healing to the published return; of the slowest answered call. The control plane's clock is a short one (AWS's minute takes 3 s), and so are "
    "BGP's hold time (3 s, AWS: 30 s) and dead peer detection (about 2 s, AWS: 30 s or more); the first call "
    "on the other path depends on none of them. Labels are compared with the tunnels that the answer's "
    "packets were seen in; 'by two' counts calls that went out by one connection and came back by the other."
)


def _table(outages: list[Outage]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns: tuple[tuple[str, Callable[[Outage], str]], ...] = (
        ("fault", lambda o: o.fault),
        ("detected by", _detection),
        ("DOWN", lambda o: _seconds(o.tunnel_down_seconds)),
        ("other", lambda o: _seconds(o.first_success_seconds)),
        ("switch", lambda o: _seconds(o.published_seconds)),
        ("return", lambda o: _seconds(o.returned_seconds)),
        ("slowest", lambda o: _seconds(o.slowest_call_seconds)),
        ("failed", lambda o: f"{o.failed_calls} of {o.calls}"),
        ("true labels", lambda o: f"{o.labels.truthful} of {o.labels.checked}"),
        ("by two", lambda o: str(o.labels.asymmetric)),
    )
    for title, _ in columns:
        table.add_column(title, no_wrap=True)
    for outage in outages:
        table.add_row(*(cell(outage) for _, cell in columns))
    return table


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _detection(outage: Outage) -> str:
    """What told the control plane first, and on what evidence it decided."""
    if outage.detected_by is None:
        return "– (stays in use)"
    evidence = [name for name, words in _EVIDENCE.items() if words in (outage.because or "")]
    first = outage.detected_by.partition(":")[0].partition(" on ")[0]
    return f"{first} ({' + '.join(evidence)})" if evidence else first
