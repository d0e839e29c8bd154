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
from itertools import chain, islice, product
from pathlib import Path

from control_plane.domain.attention import Glance, attention
from control_plane.domain.decide import Decision, decide
from control_plane.domain.health import PathHealth, assess
from control_plane.domain.history import LinkHistory, PathHistory
from control_plane.domain.policy import Automation, DrillSchedule, Failback, Mode, Policy
from control_plane.domain.situation import Situation
from tests.builders import NOON, intent, later
from tests.property.decision_space import (
    FIRST,
    INTENTS,
    LINK,
    MOVED,
    PLACES,
    POLICY,
    SECOND,
    Rules,
    calm,
    cases,
    judged,
    memories,
    memories_of_practice,
    rules,
    special_memories,
)
from tests.property.test_attention import described, well

STORED = Path(__file__).parents[1] / "data" / "decision-census.txt"
EVERY_NTH = 211  # a prime, so that no axis of the product is skipped in step with it
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
    unstored = Rules(Policy.absent(), Mode.OBSERVE)
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
        sample(rules(()), special_memories, PLACES, INTENTS, alarms=("one alarm", "another")),
        sample(rules(()), calm, PLACES, INTENTS[4:], alarms=()),
        sample((unstored,), memories, PLACES, INTENTS),
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


def glances() -> Iterator[Glance]:
    """What a sweep may see: what is wrong with one path at a time, and everything that a link remembers."""
    places = [published for _, published in (*PLACES, *MOVED)]
    paths = [(path, well(SECOND)) for path in described(FIRST)]
    states = [
        {},
        {"open_plan": True},
        {"ringing": ("one alarm", "another")},
        {"lease_holder": "run-1"},
        {"lease_holder": "run-1", "lease_ends_at": NOON},
        {"lease_holder": "run-1", "lease_ends_at": later(1)},
        {"waits_for_operator": "a test"},
    ]
    slow = LinkHistory(paths={FIRST: PathHistory(slow_since=NOON), SECOND: PathHistory(down=True)})
    lossy = LinkHistory(paths={FIRST: PathHistory(erring_since=NOON, failed_in_a_row=1)})
    for seen in paths:
        yield Glance(LINK, POLICY, PLACES[0][1], seen, memories(())[0].history, NOON)
    for published, memory, state in product(places, special_memories(()), states):
        yield Glance(LINK, POLICY, published, paths[0], memory.history, NOON, **state)
    for history, policy in product((slow, lossy), (POLICY, Policy.absent())):
        yield Glance(LINK, policy, PLACES[0][1], paths[0], history, NOON)
        yield Glance(LINK, policy, PLACES[1][1], paths[0], history, NOON)


def late_verdicts() -> Iterator[PathHealth]:
    """Verdicts on what was seen a while ago, each source having its own limit of age."""
    ages = POLICY.maximum_source_age
    limits = (
        ages.probe_seconds,
        ages.canary_seconds,
        ages.proxy_report_seconds,
        ages.telemetry_seconds,
    )
    for seen, _ in islice(judged(), 0, None, EVERY_NTH):
        for age in sorted({*limits, *(limit + 1 for limit in limits)}):
            dated = seen.model_copy(update={"described_at": NOON})
            yield assess(dated, POLICY.latency, POLICY.errors, ages, later(age))


def test_the_census_of_decisions_is_the_stored_one():
    """What is decided, and in which words, changes only on purpose."""
    counted = Counter(chain.from_iterable(rows(decide(situation)) for situation in situations()))
    verdicts = chain((verdict for _, verdict in judged()), late_verdicts())
    counted.update(f"verdict: {c}" for v in verdicts for c in v.describe().split("; "))
    counted.update(
        f"sweep: {why}" for glance in glances() for why in attention(glance) or ("well",)
    )
    found = [f"{count:7,} {row}" for row, count in sorted(counted.items())]
    if os.environ.get("TWINSPAN_REWRITE"):
        STORED.write_text("\n".join(found) + "\n")
    stored = STORED.read_text().splitlines()
    difference = list(difflib.unified_diff(stored, found, "stored", "found", lineterm="", n=0))
    assert not difference, "\n".join(difference[:40])
