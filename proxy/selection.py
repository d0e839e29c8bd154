"""Which paths a request may use, and which of them to try next. Pure: a config and breakers in, paths out.

The published active path comes first, then the others as published. What policy forbids is not here at all;
what a breaker advises against comes last, never not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from proxy.routing_config import PathConfig, RoutingConfig

DEFAULT_DATA_CLASS = "default"


class UnknownDataClass(ValueError):
    """The routing config has no such data class."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do next: send over `path`; or, with only ejected paths left, ask `ejected` first."""

    path: PathConfig | None
    ejected: tuple[PathConfig, ...] = ()


def allowed_paths(config: RoutingConfig, data_class: str) -> tuple[PathConfig, ...]:
    """Enabled paths that this data class may use, the active one first; empty when policy forbids all.

    Raises:
        UnknownDataClass: the class is not in the config.
    """
    methods = config.data_classes.get(data_class)
    if methods is None:
        raise UnknownDataClass(data_class)
    allowed = [p for p in config.paths if p.state == "enabled" and p.routing_method in methods]
    allowed.sort(key=lambda path: path.name != config.active_path)
    return tuple(allowed)


def narrows(config: RoutingConfig, data_class: str, within: str) -> bool:
    """Whether a data class may use no routing method that another may not.

    Raises:
        UnknownDataClass: one of them is not in the config.
    """
    for name in (data_class, within):
        if name not in config.data_classes:
            raise UnknownDataClass(name)
    return set(config.data_classes[data_class]) <= set(config.data_classes[within])


def next_path(
    allowed: tuple[PathConfig, ...],
    tried: Collection[str],
    admits: Callable[[str], bool],
) -> Choice:
    """The next path for a request that has already tried some, by name."""
    ejected: list[PathConfig] = []
    for path in allowed:
        if path.name in tried:
            continue
        if admits(path.name):
            return Choice(path)
        ejected.append(path)
    return Choice(None, tuple(ejected))
