"""The census of decisions: how often each outcome and each sentence comes in a fixed sample of all situations.

`tests/data/decision-census.txt` is what operators may be told and how the rules divide the situations among the
outcomes. A change of a rule or of its wording shows there as a difference that a reviewer can read; when it is
meant, `TWINSPAN_REWRITE=1 pytest tests/property/test_decision_census.py` writes the file anew.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from control_plane.domain.decide import Decision, decide
from control_plane.domain.policy import Automation, DrillSchedule, Failback
from control_plane.domain.situation import Situation
from tests.builders import intent
from tests.property.decision_space import (
    FIRST,
    INTENTS,
    MOVED,
    PLACES,
    SECOND,
    calm,
    cases,
    judged,
    memories,
    memories_of_practice,
    rules,
    special_memories,
)

STORED = Path(__file__).parents[1] / "data" / "decision-census.txt"
EVERY_NTH = 101  # a prime, so that no axis of the product is skipped in step with it
RARER_INTENTS = (
    intent("restore"),
    intent("restore", to=SECOND),
    intent("restore", to=SECOND, override=True, reason="a test"),
    intent("rollback", to_generation=3),
    intent("reconcile"),
    intent("reconcile", dry_run=True),
    intent("drill"),
    intent("drill", to=SECOND, override=True, reason="a test"),
    intent(to="tunnel-9"),
    intent(dry_run=True),
)


def situations() -> Iterator[Situation]:
    """A sample of everything that the exhaustive proofs go through, and of what they leave out."""
    schedule = DrillSchedule(automation=Automation.AUTOMATIC)
    by_hand = Failback(automation=Automation.MANUAL)
    sample = partial(cases, every_nth=EVERY_NTH)
    everything = chain(
        sample(rules((), (FIRST,), (SECOND,)), memories, PLACES, INTENTS),
        sample(rules((), (FIRST, SECOND)), special_memories, PLACES, INTENTS),
        sample(rules((), failback=by_hand), memories, PLACES, INTENTS[:1]),
        sample(rules((), drill=schedule), memories_of_practice, PLACES, INTENTS[:1], routine=True),
        sample(rules(()), calm, MOVED, INTENTS),
        sample(rules(()), special_memories, PLACES, RARER_INTENTS, rollback_path=FIRST),
        sample(rules(()), special_memories, MOVED, RARER_INTENTS, rollback_path=SECOND),
        sample(rules(()), calm, PLACES, INTENTS, refused={SECOND: "the route model refuses it"}),
        sample(
            rules(()), special_memories, PLACES, RARER_INTENTS, intact=False, rollback_path=SECOND
        ),
    )
    return (situation for situation, _, _ in everything)


def rows(decision: Decision) -> Iterator[str]:
    """What is counted of one decision."""
    marks = {
        "touches nothing": decision.touches_nothing,
        "asks first": decision.needs_approval,
        "overridden": decision.overridden,
        f"drill {decision.drill}": decision.drill is not None,
        f"for {decision.drill_seconds} s": decision.drill_seconds is not None,
    }
    marked = "".join(f", {mark}" for mark, there in marks.items() if there)
    yield f"outcome: {decision.kind} {decision.path}{marked}"
    fields: dict[str, Iterable[str]] = {
        "because": decision.reasons,
        "passed over": (f"{path}: {why}" for path, why in decision.passed_over.items()),
        "would change": decision.would_change,
        "warning": decision.warnings,
        "overrode": decision.overrode,
        "input": (f"{name}: {value}" for name, value in decision.inputs.items()),
    }
    for field, sentences in fields.items():
        for sentence in sentences:
            for clause in sentence.split("; "):
                yield f"{field}: {clause}"


def test_the_census_of_decisions_is_the_stored_one():
    """What is decided, and in which words, changes only on purpose."""
    counted = Counter(chain.from_iterable(rows(decide(situation)) for situation in situations()))
    verdicts = (verdict.describe() for _, verdict in judged())
    counted.update(f"verdict: {c}" for text in verdicts for c in text.split("; "))
    found = [f"{count:7,} {row}" for row, count in sorted(counted.items())]
    if os.environ.get("TWINSPAN_REWRITE"):
        STORED.write_text("\n".join(found) + "\n")
    stored = STORED.read_text().splitlines()
    difference = list(difflib.unified_diff(stored, found, "stored", "found", lineterm="", n=0))
    assert not difference, "\n".join(difference[:40])
