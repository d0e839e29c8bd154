"""What the link's policy, as published, forbids: models and resending, within what the deployment lets through."""

from __future__ import annotations

import json

import pytest

from proxy.model_lists import is_listed, on_both
from proxy.routing_config import VERIFICATION_MODEL, InvalidRoutingConfig, RoutingConfig
from tests.proxy.worlds import config_document, reset_unanswered, run, world

FIRST, SECOND = "/model/a.model-v1%3A0/invoke", "/model/b.model-v1%3A0/invoke"


def mvp(model: str) -> bytes:
    return json.dumps({"modelId": model, "body": {}}).encode()


@run
async def test_a_published_policy_narrows_the_models_without_a_redeployment() -> None:
    """Models that the policy no longer lists are 403 by every way in from the next generation on, known routes too,
    and open again when it lists them."""
    async with world() as w:
        assert (await w.call(SECOND)).status == 200
        await w.adopt(allowed_models=["a.*"])
        assert (await w.call(FIRST)).status == 200
        for refused in (await w.call(SECOND), await w.call("/bedrock", mvp("B.model-v1:0"))):
            assert refused.status == 403
            assert refused.json["message"].startswith("modelId: ")
        assert w.calls("tunnel-1") == 2
        await w.adopt()
        assert (await w.call(SECOND)).status == 200


@run
async def test_a_forged_config_widens_nothing() -> None:
    """Whatever a routing config lists, the deployment's own allow-list holds; what is told is what is on both."""
    async with world(settings_changes={"allowed_models": "a.*", "resend": "false"}) as w:
        await w.adopt(allowed_models=["b.*", "a.model-v1:0"], resend="allow")
        assert (await w.call(SECOND)).status == 403
        assert (await w.call("/model/a.other/invoke")).status == 403
        assert (await w.call(FIRST)).status == 200
        listed = (await w.call("/v1/bedrock/models", method="GET")).json
        assert listed == {"modelSummaries": [{"modelId": "a.model-v1:0"}], "allowListed": True}
        w.upstreams["tunnel-1"].behaviour = reset_unanswered
        assert (await w.call(FIRST)).status == 502
        assert w.calls("tunnel-2") == 0


@run
async def test_a_policy_can_forbid_to_send_a_call_again() -> None:
    """A call that was written and died unanswered ends there, and one that was never written still goes elsewhere."""
    async with world() as w:
        await w.adopt(resend="never")
        w.upstreams["tunnel-1"].behaviour = reset_unanswered
        answer = await w.call(X_Twinspan_Resend="allow")
        assert (answer.status, answer.json["__type"]) == (502, "NotResent")
        assert w.calls("tunnel-2") == 0
        await w.upstreams["tunnel-1"].refuse()
        assert (await w.call()).tunnel == "tunnel-2"
        told = (await w.call("/v1/bedrock/invoke-model", method="GET")).json
        assert (told["resend"], told["allowed_models"]) == ("never", [])


@run
async def test_a_switch_can_be_verified_whatever_models_are_allowed() -> None:
    """The call by which the control plane verifies a switch names no model, and both lists let it through."""
    async with world(settings_changes={"allowed_models": "a.*"}) as w:
        await w.adopt(allowed_models=["a.model-v1:0"])
        answer = await w.call(f"/model/{VERIFICATION_MODEL}/converse")
        assert answer.tunnel == "tunnel-1"


@run
async def test_a_call_that_waits_for_a_generation_is_held_to_its_policy() -> None:
    """The list that counts is that of the config by which the path is chosen, not the one at the request's arrival."""
    async with world() as w:
        w.publish(allowed_models=["a.*"])
        w.core.source._asked_at -= 10
        assert (await w.call(SECOND, X_Twinspan_Min_Generation="2")).status == 403


def documented(**changes: object) -> str:
    class Place:
        url, address = "http://127.0.11.1:80", "127.0.11.1"

    return json.dumps(config_document({"tunnel-1": Place()}, **changes))  # type: ignore[dict-item]


def test_a_document_that_restricts_nothing_is_what_older_proxies_read() -> None:
    """Proxies from before these fields refuse documents that have them: they are written where they restrict."""
    written = json.loads(RoutingConfig.from_json(documented()).to_json())
    assert written.keys().isdisjoint({"allowed_models", "resend"})
    spelt_out = RoutingConfig.from_json(documented(allowed_models=[], resend="allow"))
    assert json.loads(spelt_out.to_json()) == written
    narrow = RoutingConfig.from_json(documented(allowed_models=["a.*"], resend="never"))
    assert RoutingConfig.from_json(narrow.to_json()) == narrow


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"allowed_models": ["A.*"]}, "allowed_models"),
        ({"allowed_models": ["*"]}, "allowed_models"),
        ({"allowed_models": ["a.*.b"]}, "allowed_models"),
        ({"allowed_models": "a.*"}, "allowed_models"),
        ({"resend": "sometimes"}, "resend"),
        ({"resends": "never"}, "resends"),
    ],
)
def test_a_restriction_that_cannot_be_read_refuses_the_document(
    changes: dict[str, object], field: str
) -> None:
    """A misspelt or malformed restriction is never taken for none."""
    with pytest.raises(InvalidRoutingConfig, match=field):
        RoutingConfig.from_json(documented(**changes))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (("a.*",), ("a.b",), ("a.b",)),
        (("a.b",), ("a.*",), ("a.b",)),
        (("a.*",), ("a.b*", "c"), ("a.b*",)),
        (("a", "b"), ("b", "c"), ("b",)),
        (("a.*",), ("a.*",), ("a.*",)),
        (("a*",), ("b*",), ()),
    ],
)
def test_what_is_on_both_lists(
    one: tuple[str, ...], other: tuple[str, ...], both: tuple[str, ...]
) -> None:
    """Of two patterns the narrower; and a model is on the result exactly if it is on both."""
    assert on_both(one, other) == both
    for model in ("a", "a.b", "a.bc", "a.c", "b", "c"):
        assert is_listed(model, both) == (is_listed(model, one) and is_listed(model, other))
