from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from proxy.caller_keys import Grant
from proxy.circuit_breaker import BreakerState
from proxy.messages import Request
from tests.proxy.worlds import (
    ANSWER,
    MODEL_ROUTE,
    SECRET,
    Answer,
    answer_well,
    answer_with,
    http,
    run,
    world,
)

LABELS = {
    "x-routing-method",
    "x-tunnel-used",
    "x-routing-generation",
    "x-request-id",
    "x-source-partition",
    "x-destination-partition",
}


@pytest.mark.parametrize(
    "operation",
    ["invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens"],
)
@run
async def test_bedrocks_own_operations_reach_the_upstream(operation: str) -> None:
    """Each runtime operation arrives at the same path with the same body, signed for the commercial side."""
    async with world() as w:
        body = b'{"messages":[]}'
        answer = await w.call(f"/model/a.model-v1%3A0/{operation}", body)
        assert answer.status == 200
        (seen,) = w.upstreams["tunnel-1"].calls
        assert seen.target == f"/model/a.model-v1%3A0/{operation}"
        assert seen.body == body
        assert "Credential=AKIDEXAMPLE/" in seen.headers["authorization"]
        assert "/us-east-1/bedrock/aws4_request" in seen.headers["authorization"]


@run
async def test_guardrails_reach_the_upstream() -> None:
    """`apply-guardrail` is carried like an inference call."""
    async with world() as w:
        route = "/guardrail/gr-1/version/DRAFT/apply"
        assert (await w.call(route)).status == 200
        assert w.upstreams["tunnel-1"].calls[0].target == route


@run
async def test_every_answer_is_labelled() -> None:
    """Whatever the answer, it says which path carried it, under which generation, and its request id."""
    async with world() as w:
        w.upstreams["tunnel-2"].behaviour = answer_with(http(429, b"{}"))
        carried = [await w.call()]
        await w.adopt("tunnel-2")
        carried.append(await w.call())
        local = [
            await w.call("/nowhere", method="GET"),
            await w.call(method="GET"),
            await w.call("/healthz", method="GET"),
            await w.call("/v1/bedrock/invoke-model", method="GET"),
            await w.call("/v1/bedrock/invoke-model", body=b"nonsense"),
            await w.call(X_Twinspan_Data_Class="unheard-of"),
        ]
        assert [(a.status, a.tunnel) for a in carried] == [(200, "tunnel-1"), (429, "tunnel-2")]
        assert [a.headers["x-routing-generation"] for a in carried] == ["1", "2"]
        assert {a.tunnel for a in local} == {"none"}
        assert [a.status for a in local] == [404, 405, 200, 200, 400, 400]
        for answer in carried + local:
            assert set(answer.headers) >= LABELS
            assert answer.headers["x-source-partition"] == "govcloud"
            assert answer.headers["x-destination-partition"] == "commercial"


@run
async def test_an_upstream_cannot_forge_labels_or_hop_by_hop_headers() -> None:
    """Labels are the proxy's own, and headers of one hop stay on that hop, named ones included."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = answer_with(
            http(
                200,
                b"{}",
                "X-Tunnel-Used: tunnel-9",
                "X-Request-ID: forged",
                "Connection: keep-alive, x-private",
                "X-Private: 1",
                "Keep-Alive: timeout=5",
                "Set-Cookie: a=b",
                "x-amzn-RequestId: up-1",
                "X-Amzn-Bedrock-Invocation-Latency: 12",
            )
        )
        answer = await w.call()
        assert answer.tunnel == "tunnel-1"
        assert answer.headers["x-request-id"] != "forged"
        assert answer.headers["x-amzn-requestid"] == "up-1"
        assert answer.headers["x-amzn-bedrock-invocation-latency"] == "12"
        for name in ("connection", "keep-alive", "set-cookie", "x-private"):
            assert name not in answer.headers


@run
async def test_a_callers_credentials_and_hop_headers_stay_here() -> None:
    """Only content negotiation and Bedrock's own headers are forwarded; the rest never leaves."""
    async with world() as w:
        await w.call(
            Authorization="Bearer twinspan-caller-key",
            Cookie="session=1",
            X_Amz_Security_Token="caller-token",
            X_Amz_Date="20000101T000000Z",
            X_Forwarded_For="1.2.3.4",
            Transfer_Encoding="chunked",
            Connection="upgrade",
            Accept="application/json",
            X_Amzn_Bedrock_Trace="ENABLED",
        )
        (seen,) = w.upstreams["tunnel-1"].calls
        assert seen.headers["accept"] == "application/json"
        assert seen.headers["x-amzn-bedrock-trace"] == "ENABLED"
        assert set(seen.headers) == {
            "host",
            "content-type",
            "accept",
            "x-amzn-bedrock-trace",
            "x-amz-date",
            "authorization",
            "content-length",
        }
        assert "twinspan-caller-key" not in seen.headers["authorization"]
        assert not seen.headers["x-amz-date"].startswith("2000")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/model/../admin/invoke", 400),
        ("/model/%2e%2e%2fadmin/invoke", 400),
        ("/model/a%2F..%2Fb/invoke", 400),
        ("/model/a//b/invoke", 400),
        ("/model/%252e%252e/invoke", 400),
        ("/model/a%00b/invoke", 400),
        ("/model/a%0d%0ax:%20y/invoke", 400),
        ("/model/a%20b/invoke", 400),
        ("/model/a%3Fx=1/invoke", 400),
        ("/model/a%23b/invoke", 400),
        ("/model/%C3%BC/invoke", 400),
        ("/model/" + "a" * 3000 + "/invoke", 400),
        ("/model/a/delete", 404),
        ("/model/a", 404),
        ("/model//invoke", 404),
        ("/guardrail/%2e%2e/version/1/apply", 400),
        ("/guardrail/a/b/version/1/apply", 404),
        ("/foundation-models", 404),
        ("/", 404),
        ("", 404),
        ("*", 404),
    ],
)
@run
async def test_a_path_cannot_lead_elsewhere(path: str, status: int) -> None:
    """Model ids that climb, smuggle or lie are refused here; nothing is sent."""
    async with world() as w:
        answer = await w.call(path)
        assert answer.status == status
        assert "x-amzn-errortype" in answer.headers
        assert w.upstreams["tunnel-1"].connections == 0


@run
async def test_an_arn_is_a_model_id() -> None:
    """An inference profile's ARN is carried, encoded as an SDK encodes it or decoded by API Gateway."""
    arn = "arn:aws:bedrock:us-east-1:222222222222:inference-profile/us.a.model-v1:0"
    encoded = (
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A222222222222%3Ainference-profile%2Fus.a.model-v1%3A0"
    )
    async with world() as w:
        assert (await w.call(f"/model/{encoded}/invoke")).status == 200
        assert (await w.call(f"/model/{arn}/invoke")).status == 200
        targets = {seen.target for seen in w.upstreams["tunnel-1"].calls}
        assert targets == {f"/model/{encoded}/invoke"}


@run
async def test_models_beyond_the_allow_list_are_refused() -> None:
    """With an allow-list, other models are refused by name of the field, by every way in."""
    changes = {"allowed_models": "a.model-v1:0,us.a.*"}
    async with world(settings_changes=changes) as w:
        assert (await w.call("/model/a.model-v1%3A0/invoke")).status == 200
        assert (await w.call("/model/us.a.model-v9/invoke")).status == 200
        refused = [
            await w.call("/model/b.model/invoke"),
            await w.call("/bedrock", json.dumps({"modelId": "b.model", "body": {}}).encode()),
        ]
        for answer in refused:
            assert answer.status == 403
            assert answer.json["message"].startswith("modelId: ")
        assert w.calls("tunnel-1") == 2
        listed = (await w.call("/v1/bedrock/models", method="GET")).json
        assert [model["modelId"] for model in listed["modelSummaries"]] == [
            "a.model-v1:0",
            "us.a.*",
        ]


@pytest.mark.parametrize("route", ["/v1/bedrock/invoke-model", "/bedrock"])
@pytest.mark.parametrize("inner", [{"messages": ["ü"]}, '{"messages":["ü"]}'])
@run
async def test_the_mvps_clients_are_served_as_before(route: str, inner: Any) -> None:
    """The MVP's document is unwrapped, and Bedrock's answer wrapped with where it came by."""
    async with world() as w:
        document = {"modelId": "a.model-v1:0", "body": inner, "accept": "application/json"}
        answer = await w.call(route, json.dumps(document).encode())
        (seen,) = w.upstreams["tunnel-1"].calls
        assert seen.target == "/model/a.model-v1%3A0/invoke"
        assert json.loads(seen.body) == {"messages": ["ü"]}
        assert answer.status == 200
        assert json.loads(answer.json["body"])["output"] == ANSWER["output"]
        assert answer.json["contentType"] == "application/json"
        metadata = answer.json["metadata"]
        assert (metadata["routing_method"], metadata["tunnel_used"]) == ("vpn", "tunnel-1")
        assert metadata["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b"[1]", "body"),
        (b"[" * 100_000, "body"),
        (b'{"body":{}}', "modelId"),
        (b'{"modelId":7,"body":{}}', "modelId"),
        (b'{"modelId":"../x","body":{}}', "modelId"),
        (b'{"modelId":"a"}', "body"),
        (b'{"modelId":"a","body":[1]}', "body"),
        (b'{"modelId":"a","body":"\\ud800"}', "body"),
        (b'{"modelId":"a","body":{"x":NaN}}', "body"),
        (b'{"modelId":"a","body":{"x":1e999}}', "body"),
        (b'{"modelId":"a","body":{"x":' + b"9" * 5000 + b"}}", "body"),
        (b'{"modelId":"a","body":{},"contentType":5}', "contentType"),
        (b'{"modelId":"a","body":{},"accept":"a\\r\\nx: y"}', "accept"),
    ],
)
@run
async def test_a_wrong_mvp_document_is_told_by_field(document: bytes, field: str) -> None:
    """Malformed documents give 400 naming the field; nothing is sent."""
    async with world() as w:
        answer = await w.call("/v1/bedrock/invoke-model", document)
        assert answer.status == 400
        assert answer.json["message"].startswith(f"{field}: ")
        assert w.upstreams["tunnel-1"].connections == 0


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.a.b+json", 200),
        ("application/x-www-form-urlencoded", 200),
        ("text/plain", 415),
        ("application/xml", 415),
        ("application/jsonx", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json, text/plain", 415),
        ("", 200),
    ],
)
@run
async def test_an_mvp_document_is_said_to_be_json(said: str, status: int) -> None:
    """A content type that is not JSON's (or curl's for anything) is 415 and goes nowhere; none at all is accepted."""
    async with world() as w:
        answer = await w.call("/bedrock", b'{"modelId":"a","body":{}}', Content_Type=said)
        assert answer.status == status
        assert w.calls("tunnel-1") == (1 if status == 200 else 0)
        request = Request(
            "POST", "/bedrock", {}, b'{"modelId":"a","body":{}}', "10.0.1.7", "tester"
        )
        assert (await w.core.handle(request)).status == 200


@run
async def test_an_mvp_client_sees_the_upstreams_refusal() -> None:
    """A 429 stays a 429 with Bedrock's own words, by the MVP's way too."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = answer_with(http(429, b'{"message":"slow down"}'))
        answer = await w.call("/bedrock", b'{"modelId":"a","body":{}}')
        assert (answer.status, answer.json) == (429, {"message": "slow down"})


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X_Twinspan_Data_Class", "unheard-of"),
        ("X_Twinspan_Data_Class", "x" * 5000),
        ("X_Twinspan_Min_Generation", "seven"),
        ("X_Twinspan_Min_Generation", "-1"),
        ("X_Twinspan_Min_Generation", "9" * 400),
        ("X_Twinspan_Resend", "perhaps"),
        ("X_Twinspan_Timeout_Seconds", "0"),
        ("X_Twinspan_Timeout_Seconds", "nan"),
        ("X_Twinspan_Timeout_Seconds", "1e3"),
        ("Accept", "a\r\nx: y"),
        ("Content_Type", "application/json, text/plain"),
    ],
)
@run
async def test_a_wrong_header_is_told_by_name(header: str, value: str) -> None:
    """A header that cannot be obeyed gives 400 naming it, rather than being ignored."""
    async with world() as w:
        answer = await w.call(**{header: value})
        assert answer.status == 400
        assert answer.json["message"].startswith(header.replace("_", "-").lower() + ": ")
        assert w.upstreams["tunnel-1"].connections == 0


@run
async def test_a_body_beyond_the_limit_is_refused() -> None:
    """An oversize body gives 413 and goes nowhere; one at the limit passes."""
    async with world(settings_changes={"body_limit_bytes": 1000}) as w:
        assert (await w.call(body=b"x" * 1001)).status == 413
        assert w.upstreams["tunnel-1"].connections == 0
        assert (await w.call(body=b"x" * 1000)).status == 200


@run
async def test_read_your_writes_through_a_request() -> None:
    """A request that names the generation just published is carried under it."""
    async with world() as w:
        await w.call()
        w.publish("tunnel-2")
        # The last read was at the start, less than a second ago: as if it had been earlier.
        w.core.source._asked_at -= 1
        answer = await w.call(X_Twinspan_Min_Generation="2")
        assert answer.headers["x-routing-generation"] == "2"
        assert answer.tunnel == "tunnel-2"


@run
async def test_before_the_first_config_callers_are_told_to_come_again() -> None:
    """Without any config the proxy is alive and not ready, and answers 503 with its reason."""
    async with world() as w:
        w.core.source.current = None
        w.parameters.out = True
        assert (await w.call("/healthz", method="GET")).status == 200
        assert (await w.call("/readyz", method="GET")).status == 503
        answer = await w.call()
        assert answer.status == 503
        assert answer.json["__type"] == "NoRoutingConfig"
        assert "retry-after" in answer.headers


@run
async def test_readiness_follows_the_paths() -> None:
    """Ready while some path is not ejected, not ready when all are."""
    async with world() as w:
        assert (await w.call("/readyz", method="GET")).json["usable_paths"] == [
            "tunnel-1",
            "tunnel-2",
        ]
        for state in w.core.carrier.states.values():
            state.breaker.trip(0.0, "test")
        answer = await w.call("/readyz", method="GET")
        assert answer.status == 503
        assert answer.json["usable_paths"] == []


@run
async def test_a_path_that_nobody_may_use_makes_nobody_ready() -> None:
    """With both tunnels ejected, an enabled path that no data class may use does not count."""
    async with world("tunnel-1", "internet") as w:
        w.core.carrier.states["tunnel-1"].breaker.trip(0.0, "test")
        assert (await w.call("/readyz", method="GET")).status == 503
        await w.adopt(data_classes={"default": ["vpn"], "public": ["vpn", "internet"]})
        w.core.carrier.states["tunnel-1"].breaker.trip(0.0, "test")
        answer = await w.call("/readyz", method="GET")
        assert (answer.status, answer.json["usable_paths"]) == (200, ["internet"])


@run
async def test_routing_information_is_what_is_in_use() -> None:
    """`GET /v1/bedrock/invoke-model` tells the paths, the active one and each breaker."""
    async with world() as w:
        await w.adopt("tunnel-2", excluded=("tunnel-1",))
        found = (await w.call("/v1/bedrock/invoke-model", method="GET")).json
        assert (found["active_path"], found["generation"]) == ("tunnel-2", 2)
        assert found["paths"] == [
            {"name": "tunnel-1", "routing_method": "vpn", "state": "excluded", "breaker": None},
            {
                "name": "tunnel-2",
                "routing_method": "vpn",
                "state": "enabled",
                "breaker": BreakerState.CLOSED.value,
            },
        ]


@run
async def test_a_rotated_credential_costs_no_call() -> None:
    """When the old key is refused, the new one is fetched and the call goes through."""
    rotated = json.dumps(json.loads(SECRET) | {"aws_access_key_id": "AKIDROTATED"})

    async with world() as w:

        async def only_the_new(upstream: Any, seen: Any, writer: Any) -> None:
            if "AKIDROTATED" in seen.headers["authorization"]:
                await answer_well(upstream, seen, writer)
            else:
                refusal = http(403, b"{}", "x-amzn-ErrorType: UnrecognizedClientException:http://x")
                await answer_with(refusal)(upstream, seen, writer)

        await w.call()
        w.upstreams["tunnel-1"].behaviour = only_the_new
        w.secrets.text = rotated
        w.core.credentials._asked_at -= 10
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-1")
        assert (await w.call()).status == 200
        assert w.calls("tunnel-2") == 0


@run
async def test_a_new_credential_that_is_not_yet_known_costs_no_call() -> None:
    """While the upstream still refuses the new key, the old one carries the call; when it refuses both, it says so."""
    rotated = json.dumps(json.loads(SECRET) | {"aws_access_key_id": "AKIDROTATED"})
    accepted = {"AKIDEXAMPLE"}

    async with world() as w:

        async def only_the_accepted(upstream: Any, seen: Any, writer: Any) -> None:
            if any(key in seen.headers["authorization"] for key in accepted):
                await answer_well(upstream, seen, writer)
            else:
                refusal = http(403, b"{}", "x-amzn-ErrorType: UnrecognizedClientException:http://x")
                await answer_with(refusal)(upstream, seen, writer)

        w.upstreams["tunnel-1"].behaviour = only_the_accepted
        w.secrets.text = rotated
        w.core.credentials.begin_refresh()
        await w.core.credentials._refreshed()
        for key, status, calls in (("AKIDEXAMPLE", 200, 2), ("AKIDROTATED", 200, 1), ("", 403, 2)):
            accepted.clear()
            accepted.update({key} if key else ())
            before = w.calls("tunnel-1")
            assert (await w.call()).status == status, key
            assert w.calls("tunnel-1") - before == calls, key
        assert w.calls("tunnel-2") == 0


@run
async def test_a_403_about_permissions_is_not_about_the_credential() -> None:
    """An AccessDeniedException is passed on and refetches nothing."""
    async with world() as w:
        refusal = http(403, b'{"message":"no"}', "x-amzn-ErrorType: AccessDeniedException")
        w.upstreams["tunnel-1"].behaviour = answer_with(refusal)
        w.core.credentials._asked_at -= 10
        reads = w.secrets.reads
        assert (await w.call()).status == 403
        assert (w.secrets.reads, w.calls("tunnel-1")) == (reads, 1)


@run
async def test_the_audit_tells_what_happened() -> None:
    """One row per request, refused ones too, with path, sizes, tokens, attempts and outcome."""
    async with world() as w:
        body = json.dumps({"messages": "a secret prompt"}).encode()
        await w.call(body=body, X_Request_ID="mine-1")
        await w.upstreams["tunnel-1"].refuse()
        await w.call(body=body, X_Request_ID="mine-2")
        await w.call("/model/%2e%2e/invoke", X_Request_ID="mine-3")
        await w.call("/healthz", method="GET")
        await w.core.audit.flush(5)
        rows = {row["requestId"]["S"]: row for row in w.rows.rows}
        assert set(rows) == {"mine-1", "mine-2", "mine-3"}
        first, second, third = (rows[f"mine-{n}"] for n in (1, 2, 3))
        assert first["tunnelUsed"] == {"S": "tunnel-1"}
        assert first["modelId"] == {"S": "stand-in.model-v1:0"}
        assert (first["inputTokens"], first["outputTokens"]) == ({"N": "3"}, {"N": "5"})
        assert first["requestBytes"] == {"N": str(len(body))}
        assert first["caller"] == {"S": "tester"}
        assert second["tunnelUsed"] == {"S": "tunnel-2"}
        assert second["attempts"]["L"][-1] == {"S": "tunnel-2: answered"}
        assert second["attempts"]["L"][-2] == {"S": "tunnel-1: connect_refused"}
        assert third["statusCode"] == {"N": "400"}
        assert third["success"] == {"BOOL": False}


@run
async def test_tokens_that_were_only_counted_are_not_used() -> None:
    """What `count-tokens` answers is a number that nobody pays for: no row and no metric has it as usage."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = answer_with(http(200, b'{"inputTokens":4000}'))
        assert (await w.call("/model/a/count-tokens")).json == {"inputTokens": 4000}
        await w.core.audit.flush(5)
        (row,) = w.rows.rows
        assert "inputTokens" not in row
        assert (
            "twinspan_proxy_tokens_total"
            not in (await w.call("/metrics", method="GET")).body.decode()
        )


@run
async def test_nothing_said_or_secret_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """Prompt, completion, credential and caller's key appear in no row, metric, report or log line."""
    caplog.set_level(logging.DEBUG)
    words = ["PROMPTWORD", "COMPLETIONWORD", "stand-in-secret-key", "CALLERKEY"]
    async with world() as w:
        w.secrets.text = SECRET.replace('"stand-in"', '"stand-in-secret-key"')
        w.core.credentials.begin_refresh()
        good = http(200, b'{"content":"COMPLETIONWORD"}')
        w.upstreams["tunnel-1"].behaviour = answer_with(good)
        ask = {"body": b'{"p":"PROMPTWORD"}', "Authorization": "Bearer CALLERKEY"}
        await w.call(**ask)  # type: ignore[arg-type]
        w.upstreams["tunnel-1"].behaviour = answer_with(b"COMPLETIONWORD\r\n\r\n")
        await w.call(**ask)  # type: ignore[arg-type]
        await w.call("/bedrock", b'{"PROMPTWORD')
        await w.call("/bedrock", b'{"modelId":"PROMPTWORD \\u0000","body":"PROMPTWORD"}')
        await w.core.audit.flush(5)
        await w.core.reports.flush(5)
        metrics = (await w.call("/metrics", method="GET")).body.decode()
        recorded = [
            json.dumps(w.rows.rows),
            json.dumps(w.reports.sent),
            metrics,
            *w.core.embedded_metrics(),
            *(json.dumps(vars(record), default=str) for record in caplog.records),
        ]
        assert len(w.rows.rows) == 4
        for word in words:
            assert not [text for text in recorded if word in text], word


@run
async def test_a_fault_of_ours_is_one_callers_500(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error answers 500 without its message, and the next caller is served."""
    async with world() as w:
        carry = w.core.carrier.carry

        async def fails(call: Any) -> Any:
            raise RuntimeError("PROMPTWORD")

        w.core.carrier.carry = fails  # type: ignore[method-assign]
        answer = await w.call()
        w.core.carrier.carry = carry  # type: ignore[method-assign]
        assert answer.status == 500
        assert b"PROMPTWORD" not in answer.body
        assert "PROMPTWORD" not in caplog.text
        assert (await w.call(MODEL_ROUTE)).status == 200


@pytest.mark.parametrize(
    ("model", "headers", "status"),
    [
        ("anthropic.claude", {}, 200),
        ("anthropic.claude", {"x-twinspan-data-class": "default"}, 200),
        ("anthropic.claude", {"x-twinspan-data-class": "another"}, 403),
        ("amazon.nova", {}, 403),
    ],
)
@run
async def test_a_key_grants_its_models_and_its_data_class_alone(
    model: str, headers: dict[str, str], status: int
) -> None:
    """What a caller's key does not grant is 403 and reaches no upstream."""
    async with world() as w:
        request = Request(
            method="POST",
            path=f"/model/{model}/converse",
            headers=headers,
            body=b"{}",
            source_ip="10.0.1.7",
            caller="team-a",
            grant=Grant("team-a", "default", ("anthropic.*",)),
        )
        assert (await Answer.of(await w.core.handle(request))).status == status
        assert w.calls("tunnel-1") == (1 if status == 200 else 0)
