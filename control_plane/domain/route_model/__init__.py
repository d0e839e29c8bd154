"""The route model: AWS forwarding over both partitions, in values.

It answers, from a snapshot of describe output, where a packet goes and whether its reply comes back, what a plan would
change about that, and what stands in the way. It is the only package that imports networkx. It does not measure:
a path that the model delivers may still drop packets, which is what probes are for.
"""

from control_plane.domain.route_model.network import Network
from control_plane.domain.route_model.question import InvalidQuestion
from control_plane.domain.route_model.snapshot import InvalidSnapshot, Snapshot
from control_plane.domain.route_model.traces import (
    Alternative,
    Blocker,
    Hop,
    MatchedRoute,
    Outcome,
    Trace,
)
from control_plane.domain.route_model.whatif import (
    Change,
    Flow,
    FlowResult,
    PlanLimits,
    Report,
    Violation,
    ViolationKind,
    audit,
    isolation_violations,
    observed_target,
    validate,
    with_changes,
)

__all__ = [
    "Alternative",
    "Blocker",
    "Change",
    "Flow",
    "FlowResult",
    "Hop",
    "InvalidQuestion",
    "InvalidSnapshot",
    "MatchedRoute",
    "Network",
    "Outcome",
    "PlanLimits",
    "Report",
    "Snapshot",
    "Trace",
    "Violation",
    "ViolationKind",
    "audit",
    "isolation_violations",
    "observed_target",
    "validate",
    "with_changes",
]
