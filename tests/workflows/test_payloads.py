"""What travels between the states: each finds what it needs, refuses nothing that it is given, and it all fits."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from control_plane.domain.changes import Change
from control_plane.domain.decide import Decision, DecisionKind
from control_plane.domain.plan import Plan
from control_plane.domain.signals import Signal, SignalKind
from control_plane.domain.topology import SideName, TableKind
from control_plane.operations.run import HeldLease, Run
from state_machine.contracts import Caught, Planned
from state_machine.runtime import Contract
from tests.workflows.test_definition import LEVELS

MAXIMUM_PAYLOAD = 262_144
Keys = frozenset[str]


def contract_of(state: Mapping[str, Any]) -> Contract | None:
    """The contract of the step that a state invokes; None for a task of a service's own."""
    found = re.search(r"\$\{(\w+)FunctionArn\}", json.dumps(state["Parameters"]))
    if found is None:
        return None
    module = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", found[1]).lower()
    contract: Contract = importlib.import_module(f"state_machine.steps.{module}").handler.contract
    return contract


def payload_keys(parameters: Mapping[str, Any], document: Keys) -> Keys:
    """The keys of what a task is invoked with, or a Pass makes."""
    payload = parameters.get("Payload.$", parameters.get("Payload", parameters))
    if payload == "$":
        return document
    for key, value in payload.items():
        if key.endswith(".$") and value.startswith("$.") and value != "$":
            assert value.removeprefix("$.").split(".")[0] in document, (key, value, document)
    return frozenset(key.removesuffix(".$") for key in payload)


def steps_out(state: Mapping[str, Any], document: Keys) -> Iterator[tuple[str, Keys]]:
    """Where a state leads, with the keys of the document that goes there."""
    caught = document
    if state["Type"] == "Task" and (contract := contract_of(state)) is not None:
        out = frozenset(contract.gives.model_fields)
        if "ResultPath" in state:
            out = (
                document | {state["ResultPath"].removeprefix("$.")}
                if state["ResultPath"]
                else document
            )
    elif state["Type"] == "Pass" and "Parameters" in state:
        out = payload_keys(state["Parameters"], document)
    elif state["Type"] == "Pass" and state.get("ResultPath"):
        out = document | {state["ResultPath"].removeprefix("$.")}
    else:
        out = document
    for target in [state.get("Next"), state.get("Default")]:
        if target:
            yield target, out
    for choice in state.get("Choices", ()):
        for rule in choice.get("And", [choice]):
            name = re.split(r"[.\[]", rule["Variable"].removeprefix("$."))[0]
            assert rule.get("IsPresent") or name in document, (name, document)
        yield choice["Next"], document
    for catcher in state.get("Catch", ()):
        path = catcher.get("ResultPath", "$")
        yield catcher["Next"], caught | {path.removeprefix("$.")} if path != "$" else Keys()


@pytest.mark.parametrize("level", [lv for m, lv in LEVELS if m == "remediation"])
def test_every_state_is_given_what_it_takes_and_nothing_that_it_refuses(level):
    """Over every way that a document can come, through choices, passes and catches alike."""
    seen: set[tuple[str, Keys]] = set()
    ways = [(level["StartAt"], Keys())]
    while ways:
        name, document = ways.pop()
        if (name, document) in seen:
            continue
        seen.add((name, document))
        state = level["States"][name]
        if state["Type"] == "Task" and (contract := contract_of(state)) is not None:
            given = payload_keys(state["Parameters"], document)
            fields = contract.takes.model_fields
            required = {field for field, spec in fields.items() if spec.is_required()}
            assert required <= given, f"{name} lacks {required - given}"
            if contract.takes.model_config.get("extra") != "ignore":
                assert given <= set(fields), f"{name} is given {given - set(fields)}"
        ways += steps_out(state, document)
    assert {name for name, _ in seen} == set(level["States"])


def test_the_largest_document_fits_a_payload():
    """The most changes that a policy allows, twenty paths with long reasons, and the longest error."""
    reason = "commercial route table rtb-0123456789abcdef0 has no route 10.0.0.0/16 → eni-0123456789abcdef0"
    names = [f"a-path-with-a-long-name-{number:02}" for number in range(20)]
    now = datetime(2026, 3, 1, tzinfo=UTC)
    decision = Decision(
        DecisionKind.FAILOVER,
        tuple(reason for _ in range(8)),
        names[0],
        passed_over={name: "; ".join([reason] * 4) for name in names},
        inputs={f"path {name}": reason * 3 for name in names},
        warnings=tuple(reason for _ in names),
        would_change=tuple(reason for _ in names * 3),
    )
    change = Change(
        SideName.COMMERCIAL, TableKind.VPC, "rtb-0123456789abcdef0", "2001:db8::/64",
        "eni-0123456789abcdef0", "eni-0fedcba987654321f",
    )  # fmt: skip
    plan = Plan("l" * 40, decision.kind, names[0], names[1], names[0], 10**9, (change,) * 50)
    run = Run(
        execution="e" * 80,
        link_id="l" * 40,
        signal=Signal(kind=SignalKind.ALARM, link_id="l" * 40, about="a" * 1000),
        lease=HeldLease(holder="e" * 80, token=10**9, expires_at=now),
        approved_decision=decision.to_dict(),
        refused=dict.fromkeys(names, reason * 3),
    )
    largest = Planned(
        run=run,
        observation_ref="0" * 64,
        health=dict.fromkeys(names, reason * 4),
        active_path=names[1],
        generation=10**9,
        decision=decision.to_dict(),
        action="act",
        plan=plan.to_dict(),
        proof_ref="0" * 64,
        verdict="proved",
        changes_routes=True,
        publishes=True,
        error=Caught(Error="E" * 100, Cause="c" * 32_768),  # the most that Step Functions keeps
    )
    characters = len(largest.model_dump_json())
    assert 50_000 < characters < MAXIMUM_PAYLOAD / 2, characters
