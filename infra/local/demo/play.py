"""Playing a scenario: set the stage, follow it live, then say in a summary what held and what did not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console

from infra.local.demo.lab_scenarios import LAB_SCENARIOS
from infra.local.demo.scenarios import SCENARIOS, Stage, policy_of
from infra.local.demo.traffic import Traffic, by_path, runs
from infra.local.demo.watch import Happening, Watcher
from infra.local.environment import Environment

MODEL_ID = "anthropic.claude-3-5-sonnet-20241022-v2:0"
CALLS_PER_SECOND = 20.0
BASELINE_CALLS = 20
SETTLE_SECONDS = 30.0
LAB_SAYS = "Its tunnels are real: four of strongSwan's (IKEv2, AES-256-GCM), each with BGP between FRR and BIRD.\n"
ALL_SCENARIOS = SCENARIOS | LAB_SCENARIOS
EXIT_HELD, EXIT_BROKEN = 0, 1


@dataclass
class Narrator:
    """Prints what happens, in seconds since something broke."""

    console: Console
    zero: float = field(default_factory=time.monotonic)
    happenings: list[Happening] = field(default_factory=list)

    def act(self, text: str) -> None:
        """A thing that the scenario does."""
        self.zero = time.monotonic()
        self.console.print(f"[bold]+  0.0 s  {'»':<10} {text}[/]")

    def happened(self, what: Happening) -> None:
        """A thing that was seen."""
        self.happenings.append(what)
        line = f"+{what.at - self.zero:5.1f} s  {what.kind:<10} {what.text}"
        self.console.print(line, markup=False)


def play(
    name: str,
    console: Console,
    *,
    lab: bool = False,
    inspect: Callable[[Environment], None] | None = None,
) -> int:
    """Play one scenario, in the lab if wanted; returns the exit code: 0 only if every promise held.

    `inspect` is given the environment at the end, while it still runs; every call of AWS is then recorded.
    """
    scenario = ALL_SCENARIOS[name]
    lab = lab or name in LAB_SCENARIOS
    policy = policy_of(name)
    console.rule(f"[bold]{name}[/]", align="left")
    console.print(f"{(scenario.__doc__ or '').strip()}")
    started = time.monotonic()
    with Environment(policy=policy, lab=lab, record_calls=inspect is not None) as cloud:
        console.print(
            f"Embedded cloud up in {time.monotonic() - started:.1f} s: both partitions deployed "
            f"from infra/templates; proxy at {cloud.proxy_url}\n{LAB_SAYS if lab else ''}"
            f"Timers are short here: hold-down {policy['hold_down_seconds']} s, stable "
            f"{policy['failback']['stable_seconds']} s before failback; AWS's own minute (alarm "
            f"periods, schedules) takes {cloud.seconds_per_minute:g} s.\n"
        )
        narrator = Narrator(console)
        watcher = Watcher(cloud, narrator.happened)
        traffic = Traffic(cloud.proxy_url, MODEL_ID, CALLS_PER_SECOND)
        stage = Stage(cloud, traffic, watcher, narrator.act)
        watcher.start()
        traffic.start()
        try:
            watcher.wait_for(lambda: len(traffic.calls()) >= BASELINE_CALLS, SETTLE_SECONDS)
            quiet = watcher.wait_for(watcher.all_quiet, SETTLE_SECONDS)
            stage.promise("every alarm was OK before anything was broken", quiet)
            before = watcher.routing_config()["generation"]
            scenario(stage)
        finally:
            traffic.stop()
            watcher.stop()
        if watcher.failure is not None:
            stage.promise("the demo could follow what happened", False, repr(watcher.failure))
        if inspect is not None:
            inspect(cloud)
        return _summary(console, stage, before)


def _summary(console: Console, stage: Stage, before: int) -> int:
    calls, config = stage.traffic.calls(), stage.watcher.routing_config()
    console.print()
    console.rule("[bold]summary[/]", align="left")
    _executions(console, stage)
    console.print(
        f"generation  {before} → {config['generation']}, active path now {config['active_path']}"
    )
    used = ", ".join(f"{path} {count}" for path, count in sorted(by_path(calls).items()))
    order = " → ".join(f"{path} ({count})" for path, count in runs(calls)[:12])
    failed = Counter(call.status for call in calls if call.failed)
    statuses = ", ".join(f"{status or 'no answer'} × {n}" for status, n in sorted(failed.items()))
    console.print(
        f"calls       {len(calls)}: {used}; {sum(failed.values())} failed"
        + (f" ({statuses})" if failed else "")
    )
    console.print(f"in order    {order}")
    slowest = max((call.seconds for call in calls if not call.failed), default=0.0)
    console.print(f"slowest     {slowest:.2f} s for an answered call")
    console.print()
    broken = 0
    for text, held, detail in stage.promises:
        broken += not held
        mark = "[green]held  [/]" if held else "[bold red]BROKEN[/]"
        console.print(f"{mark}  {text}", end="")
        console.print(f"  ({detail})" if detail else "", markup=False, style="dim")
    console.print(
        "\n[bold green]The promise held.[/]"
        if not broken
        else f"\n[bold red]{broken} of {len(stage.promises)} promises did not hold.[/]"
    )
    return EXIT_BROKEN if broken else EXIT_HELD


def _executions(console: Console, stage: Stage) -> None:
    """Each execution that changed something or was refused, with the states that it visited."""
    outcomes: dict[str, list[str]] = {}
    for entry in stage.watcher.entries():
        if entry.kind == "outcome" and entry.data["outcome"] != "nothing-to-do":
            outcomes.setdefault(entry.execution, []).append(entry.data["outcome"])
    for execution, ended in outcomes.items():
        states = [name for name in stage.watcher.states_visited(execution) if name != "Start"]
        console.print(f"execution   {execution}: {', then '.join(ended)}", markup=False)
        console.print(f"  visited   {' '.join(states)}", markup=False)
