"""What Twinspan says when it decides, as people will read it: the whole account of one situation of each kind.

`tests/data/decision-accounts.txt` holds them; the census of decisions holds how often each sentence comes over all
situations. A sentence that changes by intent is written anew with
`TWINSPAN_REWRITE=1 pytest tests/unit/test_sentences.py`; the difference is then read as a stranger would read it,
and committed with the change.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from control_plane.domain.decide import Decision, decide
from tests.unit.situations import all_situations

STORED = Path(__file__).parents[1] / "data" / "decision-accounts.txt"


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
    found = "\n\n".join(told) + "\n"
    if os.environ.get("TWINSPAN_REWRITE"):
        STORED.write_text(found, encoding="utf-8")
    stored = STORED.read_text(encoding="utf-8").splitlines()
    difference = list(
        difflib.unified_diff(stored, found.splitlines(), "stored", "found", lineterm="", n=1)
    )
    assert not difference, "\n".join(difference[:40])


def test_each_situation_has_a_name_of_its_own():
    """A reader finds it by its name."""
    names = [name for name, _ in all_situations()]
    assert len(names) == len(set(names))
