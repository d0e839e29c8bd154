"""How many audit rows refusals get, in virtual time."""

from __future__ import annotations

from proxy.audit import AuditLog
from proxy.refusal_rows import STRANGERS_PER_SECOND, RefusalRows
from tests.proxy.worlds import Rows, run


class Refusals:
    """Refusals of strangers and of one who is known, on a clock of the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.audit = AuditLog(Rows(), lambda: self.now)
        self.rows = RefusalRows(self.audit, lambda: self.now)

    def recorded(self, count: int, caller: str | None = None) -> int:
        """How many of so many at this moment got a row."""
        before = len(self.audit)
        for number in range(count):
            self.rows.add(f"r{number}", "10.0.0.1", caller, 401, "AccessDeniedException")
        return len(self.audit) - before


@run
async def test_strangers_have_so_many_rows_a_second_and_the_rest_are_counted() -> None:
    """Those of a flood are as many as were saved up, then as many as each second earns, and none is lost silently."""
    each = int(STRANGERS_PER_SECOND)
    refusals = Refusals()
    assert refusals.recorded(1000) == each
    for second in range(1, 4):
        refusals.now = float(second)
        assert refusals.recorded(1000) == each
    refusals.now = 3600.0
    assert refusals.recorded(1000) == each, "no more is saved up in a quiet hour"
    assert refusals.rows.without_row == 5 * (1000 - each)


@run
async def test_a_known_caller_has_a_row_for_each_also_in_a_flood_of_strangers() -> None:
    """Whoever showed a good key is answerable for every request, and strangers cannot hide that."""
    refusals = Refusals()
    refusals.recorded(1000)
    assert refusals.recorded(50, caller="team-a") == 50
