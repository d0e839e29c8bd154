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

PAGE = Path(__file__).parents[2] / "docs" / "how-it-decides.md"
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


def test_the_table_in_the_documentation_is_what_is_decided() -> None:
    """A reader of `docs/how-it-decides.md` reads what the code does; `TWINSPAN_REWRITE=1` writes the table anew."""
    begins, ends = "<!-- situations -->", "<!-- end of situations -->"
    rows = ["", "| situation | decision | because |", "|---|---|---|"]
    for name, situation in all_situations():
        decision = decide(situation)
        reasons = "; ".join(decision.reasons).replace("|", "\\|")
        marks = {"asks first": decision.needs_approval, "touches nothing": decision.touches_nothing}
        marked = "".join(f", {mark}" for mark, holds in marks.items() if holds)
        rows.append(f"| {name} | {decision.kind} {decision.path or ''}{marked} | {reasons} |")
    table = "\n".join([*rows, ""]) + "\n"
    page = PAGE.read_text()
    before, _, rest = page.partition(begins)
    stored, _, after = rest.partition(ends)
    if os.environ.get("TWINSPAN_REWRITE"):
        PAGE.write_text(f"{before}{begins}\n{table}{ends}{after}")
        stored = f"\n{table}"
    assert stored == f"\n{table}"
