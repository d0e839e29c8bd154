"""Every sentence that Twinspan says when it decides, as people will read it.

Two files hold them: `decisions.txt` the whole account of each situation in `situations`, `fragments.txt` all that
verdicts and decisions say over a sample of every state and case there is, in alphabetical order. A sentence that
changes by intent is written anew with `TWINSPAN_WRITE_SENTENCES=1 pytest tests/unit/test_sentences.py`; the
difference is then read as a stranger would, and committed with the change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

from control_plane.domain.decide import Decision, Situation, decide, judge
from control_plane.domain.health import Health, PathHealth, assess
from control_plane.domain.history import LinkHistory
from tests.builders import NOON, later
from tests.property import decision_space as space
from tests.unit.situations import all_situations

WRITTEN = Path(__file__).parents[1] / "data" / "sentences"
WRITES = "TWINSPAN_WRITE_SENTENCES"


def compare(name: str, said: str) -> None:
    """Against what is written; or write it."""
    path = WRITTEN / name
    if os.environ.get(WRITES):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said, encoding="utf-8")
    assert said.splitlines() == path.read_text(encoding="utf-8").splitlines()


def account(decision: Decision) -> Iterator[str]:
    """The whole decision, a line for each thing that it says."""
    marks = {
        "touches nothing": decision.touches_nothing,
        "needs approval": decision.needs_approval,
        "overridden": decision.overridden,
        f"drill: {decision.drill}": decision.drill is not None,
        f"for {decision.drill_seconds} s": decision.drill_seconds is not None,
    }
    said = "".join(f" [{mark}]" for mark, holds in marks.items() if holds)
    yield f"{decision.describe()}{said}"
    yield from (f"  not {name}: {why}" for name, why in decision.passed_over.items())
    yield from (f"  unless {text}" for text in decision.would_change)
    yield from (f"  in spite of {text}" for text in decision.overrode)
    yield from (f"  warning: {text}" for text in decision.warnings)
    yield from (f"  {name} = {text}" for name, text in decision.inputs.items())


def test_each_situation_is_told_in_full():
    """What is decided, why, why not otherwise, and what was looked at: word for word."""
    told = [f"# {name}\n" + "\n".join(account(decide(one))) for name, one in all_situations()]
    compare("decisions.txt", "\n\n".join(told) + "\n")


def test_each_situation_has_a_name_of_its_own():
    """A reader finds it by its name."""
    names = [name for name, _ in all_situations()]
    assert len(names) == len(set(names))


def verdicts() -> list[PathHealth]:
    """On every so many-th state of a path: seen just now, and too long ago."""
    found = []
    for number, path in enumerate(islice(space.path_states(), 0, None, 13)):
        seen = path.model_copy(update={"described_at": NOON}) if number % 3 else path
        found += [assess(seen, space.POLICY.latency, now=later(age)) for age in (0, 200, 400)]
    return found


def decisions(seen: list[PathHealth]) -> Iterator[Decision]:
    """On every so many-th combination of two verdicts with all that may be remembered, allowed and asked."""
    first = list({space.telling(verdict): verdict for verdict in seen}.values())
    second = [replace(verdict, path=space.SECOND) for verdict in first]
    policies = space.rules((), (space.FIRST,))
    places = (*space.PLACES, *space.MOVED)
    remembered = {down: memories(down) for down in powerset(space.FIRST, space.SECOND)}
    numbers = range(len(remembered[()]))
    every = product(first, second, numbers, policies, places, space.INTENTS)
    for one, other, number, rule, (active, published), asked in islice(every, 0, None, 997):
        health = {space.FIRST: one, space.SECOND: other}
        down = tuple(name for name, verdict in health.items() if verdict.health is Health.FAILED)
        yield judge(
            Situation(
                space.LINK,
                rule.policy,
                active,
                health,
                frozenset(name for name, verdict in health.items() if verdict.drifted),
                remembered[down][number],
                NOON,
                asked,
                published=published,
                alarms=(),
            )
        )


def powerset(one: str, other: str) -> tuple[tuple[str, ...], ...]:
    """None, either, both."""
    return ((), (one,), (other,), (one, other))


def memories(down: tuple[str, ...]) -> list[LinkHistory]:
    """Made anew: what the space keeps from earlier tests was not made by the code at hand."""
    makers = (space.memories, space.special_memories, space.memories_of_practice)
    return [memory.history for maker in makers for memory in maker.__wrapped__(down)]


def split(texts: Iterable[str]) -> Iterator[str]:
    """What is joined where a path has several things to say of itself."""
    for text in texts:
        yield from text.split("; ")


def fragments() -> Iterator[str]:
    """All that is said, with what it is said of."""
    seen = verdicts()
    yield from (f"verdict: {reason}" for verdict in seen for reason in verdict.reasons)
    for decision in decisions(seen):
        yield from (f"because {text}" for text in split(decision.reasons))
        yield from (f"passed over: {text}" for text in split(decision.passed_over.values()))
        yield from (f"unless {text}" for text in decision.would_change)
        yield from (f"in spite of {text}" for text in split(decision.overrode))
        yield from (f"warning: {text}" for text in decision.warnings)


def test_nothing_else_is_said_in_any_case():
    """All that verdicts and decisions say, over every state and memory that the decision space has."""
    compare("fragments.txt", "\n".join(sorted(set(fragments()))) + "\n")
