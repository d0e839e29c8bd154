"""The journal's chain."""

from dataclasses import replace

from control_plane.domain.journal import GENESIS, Entry, EntryKind, verify
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
