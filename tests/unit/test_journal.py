"""The journal's chain."""

from dataclasses import replace

from control_plane.domain.journal import GENESIS, Break, Entry, EntryKind, verify
from tests.builders import later


def chain(length: int) -> list[tuple[Entry, str]]:
    entries, previous = [], GENESIS
    for number in range(1, length + 1):
        entry = Entry(
            "bedrock", number, later(number), EntryKind.SIGNAL, "run", {"n": number}, previous
        )
        previous = entry.hash
        entries.append((entry, previous))
    return entries


def test_an_untouched_chain_holds():
    """Entries that follow each other verify, against their head too."""
    entries = chain(5)
    assert verify(entries, (5, entries[-1][1])) is None


def test_an_edited_entry_is_found():
    """Content that no longer has its hash is named by sequence."""
    entries = chain(5)
    entries[2] = (replace(entries[2][0], data={"n": 99}), entries[2][1])
    found = verify(entries, None)
    assert found is not None
    assert found.sequence == 3


def test_an_edit_with_a_recomputed_hash_breaks_the_next_entry():
    """Rehashing one entry does not hide the edit."""
    entries = chain(5)
    edited = replace(entries[2][0], data={"n": 99})
    entries[2] = (edited, edited.hash)
    found = verify(entries, None)
    assert found is not None
    assert found.sequence == 4


def test_a_removed_entry_is_found():
    """A gap is named."""
    entries = chain(5)
    del entries[2]
    found = verify(entries, None)
    assert found is not None
    assert found.sequence == 3


def test_a_chain_cut_at_its_end_is_found_against_the_head():
    """Removing the newest entries shows against the stored head."""
    entries = chain(5)
    assert verify(entries[:3], (5, entries[-1][1])) is not None


def test_a_break_says_where_and_what():
    """What an auditor reads of each way to tamper with a journal."""
    entries = chain(5)
    edited = replace(entries[2][0], data={"n": 99})
    broken = [
        (entries[:2] + entries[3:], None),
        ([*entries[:2], (edited, entries[2][1]), *entries[3:]], None),
        ([*entries[:2], (edited, edited.hash), *entries[3:]], None),
        (entries[:3], (5, entries[-1][1])),
        ([], (2, "a hash")),
    ]
    found = [verify(*each) for each in broken]
    assert found == [
        Break(3, "missing: the next entry is 4"),
        Break(3, "was edited: its content does not have its hash"),
        Break(4, "does not follow the entry before it"),
        Break(4, "the head says 5 entries were written"),
        Break(1, "the head says 2 entries were written"),
    ]
