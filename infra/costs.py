"""What watching a healthy fleet costs in a month, computed from counts.

    python -m infra.costs [LINKS …]        a table for so many links

Counts of state transitions and API calls are those that `tests/workflows/test_sweep.py` counts on the running
system, alarms those that `tests/infrastructure/test_costs.py` counts in the templates. Prices are list prices in US
dollars: Step Functions' of AWS GovCloud (aws.amazon.com/step-functions/pricing), the others those of us-east-1,
GovCloud's being up to a quarter higher.

Not counted: what the network costs whether it is watched or not (VPN connections, transit gateway, endpoints,
routers and what they log and measure of themselves), inference with the proxy's own metrics of it, and runs of the workflow, which a healthy link does not need.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from control_plane.operations.sweep import LINKS_PER_BATCH

MINUTES_A_MONTH = 730 * 60
FUNCTION_GIGABYTES = 0.5

# One sweep of one batch; each further batch repeats the states inside of the map.
TRANSITIONS_A_SWEEP = 6
TRANSITIONS_A_FURTHER_BATCH = 3
# Per glance at one link: consistent reads of lease, history and plan (4 KB each), one write of at most 1 KB.
READ_UNITS_A_LINK = 3
WRITE_UNITS_A_LINK = 1
# Assumed, not counted: seconds that the functions take on AWS, with VPN and endpoints in between.
LIST_SECONDS, GLANCE_SECONDS, CANARY_SECONDS = 0.2, 0.8, 1.0
SECRET_READS_A_GLANCE, SECRET_READS_A_PROBE = 1, 1
METRICS_A_PATH = 2
# Of the templates, with a trail: metrics that alarms look at, and composite alarms. One more alarm watches the sweep.
ALARMED_METRICS_A_LINK, COMPOSITE_ALARMS_A_LINK, ALARMED_METRICS_OF_THE_SWEEP = 27, 3, 1


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars."""

    transition: float = 0.03 / 1_000
    invocation: float = 0.20 / 1_000_000
    gigabyte_second: float = 0.0000133334
    read_unit: float = 0.125 / 1_000_000
    write_unit: float = 0.625 / 1_000_000
    secret_read: float = 0.05 / 10_000
    custom_metric: float = 0.30
    alarmed_metric: float = 0.10
    composite_alarm: float = 0.50


@dataclass(frozen=True, slots=True)
class Cost:
    """One month's, in US dollars."""

    sweeps: float
    functions: float
    state: float
    secrets: float
    metrics: float

    @property
    def total(self) -> float:
        return self.sweeps + self.functions + self.state + self.secrets + self.metrics


def month(links: int, paths: int = 2, prices: Prices | None = None) -> Cost:
    """A month of watching so many healthy links, each with one credential of its own."""
    price = prices or Prices()
    batches = math.ceil(links / LINKS_PER_BATCH)
    transitions = TRANSITIONS_A_SWEEP + (batches - 1) * TRANSITIONS_A_FURTHER_BATCH
    seconds = LIST_SECONDS + batches * GLANCE_SECONDS + links * CANARY_SECONDS
    invocations = 1 + batches + links
    reads, writes = links * READ_UNITS_A_LINK, links * WRITE_UNITS_A_LINK
    secrets = links * (SECRET_READS_A_GLANCE + SECRET_READS_A_PROBE)
    return Cost(
        sweeps=MINUTES_A_MONTH * transitions * price.transition,
        functions=MINUTES_A_MONTH
        * (invocations * price.invocation + seconds * FUNCTION_GIGABYTES * price.gigabyte_second),
        state=MINUTES_A_MONTH * (reads * price.read_unit + writes * price.write_unit),
        secrets=MINUTES_A_MONTH * secrets * price.secret_read,
        metrics=links * paths * METRICS_A_PATH * price.custom_metric
        + (links * ALARMED_METRICS_A_LINK + ALARMED_METRICS_OF_THE_SWEEP) * price.alarmed_metric
        + links * COMPOSITE_ALARMS_A_LINK * price.composite_alarm,
    )


def table(sizes: tuple[int, ...]) -> str:
    """Markdown, one row for each size of a fleet."""
    rows = [
        "| links | sweeps | functions | state | secrets | metrics, alarms | a link and month |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for links in sizes:
        cost = month(links)
        parts = (cost.sweeps, cost.functions, cost.state, cost.secrets, cost.metrics)
        cells = " | ".join(f"${part:.2f}" for part in parts)
        rows.append(f"| {links:,} | {cells} | **${cost.total / links:.2f}** |")
    return "\n".join(rows) + "\n"


SIZES = (1, 25, 500)

if __name__ == "__main__":
    print(table(tuple(int(argument) for argument in sys.argv[1:]) or SIZES), end="")
