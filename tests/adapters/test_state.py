"""Journal, plans, history and evidence in DynamoDB."""

import boto3
import pytest

from control_plane.adapters.evidence import EvidenceStore
from control_plane.adapters.journal import Journal
from control_plane.adapters.lease import LeaseStore
from control_plane.adapters.link_state import LinkState
from control_plane.domain.decide import DecisionKind
from control_plane.domain.history import LinkHistory, PathHistory
from control_plane.domain.journal import EntryKind, verify
from control_plane.domain.plan import Plan
from control_plane.errors import LeaseLost
from tests.adapters.conftest import TABLE
from tests.builders import NOON, later

PLAN = Plan("bedrock", DecisionKind.FAILOVER, "tunnel-2", "tunnel-1", "tunnel-2", 7, ())


def test_a_journal_reads_back_as_a_chain_that_holds(session):
    """What was appended verifies against its head."""
    journal = Journal(session, TABLE)
    for number in range(5):
        journal.append(
            "bedrock", EntryKind.SIGNAL, "run", {"n": number, "ratio": 0.5}, later(number)
        )
    entries = journal.entries("bedrock")
    assert [entry.data["n"] for entry, _ in entries] == [0, 1, 2, 3, 4]
    assert verify(entries, journal.head("bedrock")) is None


def test_an_entry_edited_in_the_table_is_found(session):
    """Someone who edits DynamoDB by hand is noticed."""
    journal = Journal(session, TABLE)
    for number in range(3):
        journal.append("bedrock", EntryKind.SIGNAL, "run", {"n": number}, later(number))
    boto3.client("dynamodb").update_item(
        TableName=TABLE,
        Key={"pk": {"S": "JOURNAL#bedrock"}, "sk": {"S": "000000000002"}},
        UpdateExpression="SET #data = :forged",
        ExpressionAttributeNames={"#data": "data"},
        ExpressionAttributeValues={":forged": {"S": '{"n":99}'}},
    )
    found = verify(journal.entries("bedrock"), journal.head("bedrock"))
    assert found is not None
    assert found.sequence == 2


def test_links_have_journals_of_their_own(session):
    """One link's entries are not in another's chain."""
    journal = Journal(session, TABLE)
    journal.append("a", EntryKind.SIGNAL, "run", {}, NOON)
    journal.append("b", EntryKind.SIGNAL, "run", {}, NOON)
    assert len(journal.entries("a")) == 1


def test_a_writer_with_an_older_token_cannot_overwrite_a_newer_ones_state(session):
    """History and plans are fenced."""
    leases, state = LeaseStore(session, TABLE), LinkState(session, TABLE)
    old = leases.acquire("bedrock", "run-1", 60, NOON)
    new = leases.acquire("bedrock", "run-2", 60, later(100))
    remembered = LinkHistory(paths={"tunnel-1": PathHistory(failed_in_a_row=3, down=True)})
    state.save_history("bedrock", remembered, new)
    state.save_plan(PLAN, "run-2", new)
    with pytest.raises(LeaseLost):
        state.save_history("bedrock", LinkHistory(), old)
    with pytest.raises(LeaseLost):
        state.close_plan(PLAN, "undone", old)
    assert state.history("bedrock") == remembered
    assert state.open_plan("bedrock") == PLAN


def test_a_closed_plan_is_open_no_more(session):
    """Only what a crash left behind is found open."""
    lease = LeaseStore(session, TABLE).acquire("bedrock", "run-1", 60, NOON)
    state = LinkState(session, TABLE)
    assert state.open_plan("bedrock") is None
    state.save_plan(PLAN, "run-1", lease)
    state.close_plan(PLAN, "done", lease)
    assert state.open_plan("bedrock") is None


@pytest.mark.parametrize("size", [10, 900_000])
def test_evidence_reads_back_by_its_hash_small_or_large(session, size):
    """Large evidence goes to the bucket, under the same kind of reference."""
    import random

    store = EvidenceStore(session, TABLE, "evidence")
    noise = random.Random(7)
    document = {"text": "".join(chr(noise.randrange(33, 1000)) for _ in range(size))}
    reference = store.put(document)
    assert store.get(reference) == document
    assert store.put(document) == reference


def test_evidence_that_was_changed_is_refused(session):
    """A reference is a promise about content."""
    store = EvidenceStore(session, TABLE, "evidence")
    reference, other = store.put({"a": 1}), store.put({"a": 2})
    table = boto3.resource("dynamodb").Table(TABLE)
    forged = table.get_item(Key={"pk": f"EVIDENCE#{other}", "sk": "BODY"})["Item"]
    table.put_item(Item=forged | {"pk": f"EVIDENCE#{reference}"})
    with pytest.raises(ValueError, match="was changed"):
        store.get(reference)
