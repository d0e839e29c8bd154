"""Reading whatever started a run: an event, untouched, or an operator's intent.

A signal only says which link to look at, and what drew attention to it. Nothing here decides anything: what
happens next depends on observation alone, so duplicated, late, reordered and forged events are harmless.
Which resource belongs to which link is the topology's to say.

Guaranteed: for any JSON object the answer is a `Signal` or `Ignored` with the reason, never an exception. Not
guaranteed: that an event is true, recent, or the first of its kind.

One module for each family of sources, with the origin of its shapes; `fields` and `resources` are what they share.
"""

from control_plane.domain.signals.intents import Intent, IntentKind, is_intent
from control_plane.domain.signals.model import Ignored, Signal, SignalKind
from control_plane.domain.signals.own import CANARY_DETAIL_TYPE, CANARY_SOURCE
from control_plane.domain.signals.parameters import is_routing_config
from control_plane.domain.signals.parsing import READERS, claimed_link, parse_event
from control_plane.domain.signals.vpn_logs import (
    EVENT_DETAIL_TYPE as TUNNEL_LOG_DETAIL_TYPE,
)
from control_plane.domain.signals.vpn_logs import (
    EVENT_SOURCE as TUNNEL_LOG_SOURCE,
)
from control_plane.domain.signals.vpn_logs import (
    read_log_payload,
    to_detail,
)

__all__ = [
    "CANARY_DETAIL_TYPE",
    "CANARY_SOURCE",
    "READERS",
    "TUNNEL_LOG_DETAIL_TYPE",
    "TUNNEL_LOG_SOURCE",
    "Ignored",
    "Intent",
    "IntentKind",
    "Signal",
    "SignalKind",
    "claimed_link",
    "is_intent",
    "is_routing_config",
    "parse_event",
    "read_log_payload",
    "to_detail",
]
