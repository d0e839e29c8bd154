"""Lists of models that may be called: ids in lower case, exact or `prefix*`.

There are up to three of them, and a call must be on each: the deployment's, the routing config's (the link's policy, as
published) and that of the caller's key. An empty list lets all through.
"""

from __future__ import annotations

from proxy.routing_config import VERIFICATION_MODEL

_NO_MODEL = ("", VERIFICATION_MODEL)


def is_listed(model_id: str, patterns: tuple[str, ...]) -> bool:
    """Whether a model id is one of these."""
    lowered = model_id.lower()
    return any(
        lowered.startswith(pattern[:-1]) if pattern.endswith("*") else lowered == pattern
        for pattern in patterns
    )


def permits(patterns: tuple[str, ...], model_id: str) -> bool:
    """Whether a list lets this model through, or a call that asks for none: a guardrail, or the verification's."""
    return not patterns or model_id in _NO_MODEL or is_listed(model_id, patterns)


def on_both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns of the models that are on two lists, of which neither is empty: of each pair the narrower."""
    found = [pattern for pattern in one if any(_covers(wide, pattern) for wide in other)]
    found += [pattern for pattern in other if any(_covers(wide, pattern) for wide in one)]
    return tuple(dict.fromkeys(found))


def _covers(wide: str, narrow: str) -> bool:
    if wide.endswith("*"):
        return narrow.removesuffix("*").startswith(wide[:-1])
    return wide == narrow
