"""How facts of AWS are added to moto's classes.

A fact is written as a class whose members are copied onto one class of moto. A member that replaces one
of moto's is named as such, and it is an error (`PatchPointMissing`) if moto no longer has it: a
replacement that replaces nothing would silently change nothing.

Not guaranteed: two grafts of the same member. The last one wins, so each member needs one owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from infra.local.errors import PatchPointMissing
from infra.local.moto_speed import classes_changed

# What the class statement itself puts into a class's namespace, up to Python 3.13.
_OF_THE_CLASS_STATEMENT = frozenset(
    {
        "__annotations__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__qualname__",
        "__static_attributes__",
        "__weakref__",
    }
)


def graft(target: type, facts: type, replaces: Iterable[str] = ()) -> None:
    """Copy the members of `facts` onto `target`. Those named in `replaces` must exist on `target`, and
    stay reachable as `original(target, name)`. Grafting a second time changes nothing."""
    members = {
        name: member for name, member in vars(facts).items() if name not in _OF_THE_CLASS_STATEMENT
    }
    for name in replaces:
        if name not in members or not hasattr(target, name):
            raise PatchPointMissing(f"{target.__module__}.{target.__name__}.{name}")
        if getattr(target, name) is not members[name] and not hasattr(target, _kept(target, name)):
            setattr(target, _kept(target, name), getattr(target, name))
    for name, member in members.items():
        setattr(target, name, member)
    classes_changed()


def original(target: type, name: str) -> Any:
    """The member of moto that a graft replaced."""
    return getattr(target, _kept(target, name))


def _kept(target: type, name: str) -> str:
    # The class is part of the name because a graft of a parent is seen in its children. Not public:
    # moto lists the public functions of a response class as API actions.
    return f"_before_graft_{target.__name__}_{name}"
