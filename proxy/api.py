"""The proxy's HTTP interfaces, whichever edge carries them.

Three of them: Bedrock runtime's own (`/model/{modelId}/converse` and its siblings, so that a stock SDK needs
only another endpoint URL), the existing MVP's (`/v1/bedrock/…`, with `/bedrock` as an alias), and the process's
own (`/healthz`, `/readyz`, `/metrics`, `/openapi.json`, which describes them all). What the upstream says is passed
on as it is: status, body, `x-amzn-*` headers. Bodies are not read for their meaning, save that token counts are
picked out of them as numbers.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

from proxy.audit import AuditLog
from proxy.audit_rows import RequestRecord
from proxy.carrier import (
    AnswerBroke,
    Call,
    CannotCarry,
    Carried,
    Carrier,
    ModelNotPermitted,
    NoAllowedPath,
    NoCredential,
    NoRoutingConfig,
    NotResent,
    Target,
    WiderThanGranted,
)
from proxy.circuit_breaker import BreakerState
from proxy.config_source import ConfigSource
from proxy.errors import BrokenAnswer
from proxy.event_stream import CONTENT_TYPE as EVENT_STREAM
from proxy.event_stream import FrameKeeper, exception_frame
from proxy.messages import (
    Headers,
    Refused,
    Request,
    Response,
    StreamBroke,
    error_response,
    is_header_value,
    json_response,
)
from proxy.metrics import Metrics, Sample
from proxy.model_lists import on_both, permits
from proxy.refusal_rows import RefusalRows
from proxy.selection import DEFAULT_DATA_CLASS, UnknownDataClass
from proxy.signing import canonical_path

logger = logging.getLogger(__name__)

DATA_CLASS_HEADER = "x-twinspan-data-class"
MINIMUM_GENERATION_HEADER = "x-twinspan-min-generation"
RESEND_HEADER = "x-twinspan-resend"
TIMEOUT_HEADER = "x-twinspan-timeout-seconds"
RETRY_AFTER_SECONDS = 2

OPERATIONS = frozenset(
    {"invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens"}
)
MVP_INVOKE = frozenset({"/v1/bedrock/invoke-model", "/bedrock"})
ROUTING_INFORMATION = "/v1/bedrock/invoke-model"
READING = ("GET", "HEAD")

_MODEL_ROUTE = re.compile(r"/model/(?P<model>.+)/(?P<operation>[a-z-]+)")
_GUARDRAIL_ROUTE = re.compile(r"/guardrail/(?P<guardrail>[^/]+)/version/(?P<version>[^/]+)/apply")
# botocore's pattern for modelId allows these characters; the length limit is its own as well.
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,2047}")
# Besides JSON's own types what curl says of any body when it is told nothing: the MVP's clients may rely on it.
_JSON_TYPE = re.compile(
    r"application/(?:json|[a-z0-9.!#$&^_-]+\+json|x-www-form-urlencoded)[ \t]*(?:;.*)?",
    re.IGNORECASE,
)
# RFC 9110's token; the characters of a header's name.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_FORWARDED = frozenset({"content-type", "accept"})
_FORWARDED_PREFIX = "x-amzn-bedrock-"
# Hop-by-hop, or said by us: an upstream cannot put its own words into our labels.
_NOT_PASSED_BACK = frozenset(
    {
        b"alt-svc",
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"server",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-destination-partition",
        b"x-request-id",
        b"x-routing-generation",
        b"x-routing-method",
        b"x-source-partition",
        b"x-tunnel-used",
    }
)
# More digits are no count, and the audit's table would not take them.
_TOKENS = re.compile(rb"[0-9]{1,9}")
# Each with how it begins: looking for that first costs a long answer a fraction of what the expression would.
_INPUT_TOKENS = (
    re.compile(rb'"(?:inputTokens|input_tokens|inputTokenCount)"\s*:\s*(\d{1,9})\b'),
    (b'"inputTok', b'"input_tok'),
)
_OUTPUT_TOKENS = (
    re.compile(rb'"(?:outputTokens|output_tokens|outputTokenCount)"\s*:\s*(\d{1,9})\b'),
    (b'"outputTok', b'"output_tok'),
)
# An event of `invoke-with-response-stream` holds the model's own JSON in base64; Bedrock adds its counts to the last.
_PART = re.compile(rb'"bytes"\s*:\s*"([A-Za-z0-9+/]+={0,2})"')
_INVOCATION_METRICS = b'"amazon-bedrock-invocationMetrics"'
TAIL_BYTES = 4096
WRAPPED_LIMIT_BYTES = 32 * 1024 * 1024
"""The MVP's answers are kept whole, to be put into a document; nothing of Bedrock's is as long as this."""
TARGETS_CACHED = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """An inference route, resolved."""

    operation: str
    model_id: str
    target: Target


class Api:
    """Answers requests. Belongs to one event loop."""

    def __init__(
        self,
        carrier: Carrier,
        source: ConfigSource,
        audit: AuditLog,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        deadline_seconds: float,
        body_limit_bytes: int,
        allowed_models: tuple[str, ...],
        samples: Callable[[], list[Sample]],
    ) -> None:
        self._carrier = carrier
        self._source = source
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._allowed_models = allowed_models
        self._samples = samples
        self._routes: dict[str, Route] = {}
        self._openapi: bytes | None = None
        self._edge_refusals: dict[int, int] = {}
        self._refusal_rows = RefusalRows(audit, clock)
        self.body_limit_bytes = body_limit_bytes

    async def handle(self, request: Request) -> Response:
        """Answer; never raises for anything that a caller or an upstream did."""
        request_id = _request_id(request.headers)
        path = request.path
        route = self._routes.get(path)
        try:
            if (
                route is None
                and path not in MVP_INVOKE
                and not path.startswith(("/model/", "/guardrail/"))
            ):
                return self._labelled(self._own(request), request_id, None)
            if route is not None and request.method != "POST":
                _wrong_method("POST")
            if path == ROUTING_INFORMATION and request.method in READING:
                return self._labelled(self._routing_information(), request_id, None)
        except Refused as refused:
            return self._labelled(error_response(refused), request_id, None)
        return await self._infer(request, request_id, route)

    def refusal(self, refused: Refused, headers: dict[str, str]) -> Response:
        """What an edge answers instead of an answer that it cannot pass on: labelled and counted. The call has its row."""
        return self._refusal(refused, _request_id(headers))

    def turned_away(
        self, refused: Refused, headers: dict[str, str], source_ip: str, caller: str | None
    ) -> Response:
        """What an edge answers to a request that it does not carry; `caller` is None for a stranger.

        Recorded as `refusal_rows` says.
        """
        request_id = _request_id(headers)
        self._refusal_rows.add(request_id, source_ip, caller, refused.status, refused.code)
        return self._refusal(refused, request_id)

    def _refusal(self, refused: Refused, request_id: str) -> Response:
        self._edge_refusals[refused.status] = self._edge_refusals.get(refused.status, 0) + 1
        return self._labelled(error_response(refused), request_id, None)

    def ready(self) -> bool:
        """Whether a config is loaded and some path is not ejected."""
        return self._source.current is not None and bool(self._carrier.usable_paths())

    async def _infer(self, request: Request, request_id: str, route: Route | None) -> Response:
        record = RequestRecord(
            request_id=request_id,
            operation="unknown",
            source_ip=request.source_ip,
            caller=request.caller,
            began_at=time.time(),
            began=self._clock(),
            request_bytes=len(request.body),
            generation=self._source.generation,
        )
        mvp = request.path in MVP_INVOKE
        carried: Carried | None = None
        try:
            if len(request.body) > self.body_limit_bytes:
                raise too_large(self.body_limit_bytes)
            if mvp:
                if request.method != "POST":
                    also = "GET, HEAD, " if request.path == ROUTING_INFORMATION else ""
                    _wrong_method(f"{also}POST")
                route, headers, body = self._mvp_call(request)
            else:
                if route is None:
                    if request.method != "POST":
                        _wrong_method("POST")
                    route = self._resolve(request.path)
                headers, body = _forwarded(request.headers), request.body
            record.operation = "mvp-invoke" if mvp else route.operation
            record.model_id = route.model_id
            grant = request.grant
            if grant is not None and route.model_id and not grant.permits(route.model_id):
                raise Refused(
                    403, "AccessDeniedException", "modelId: is not among those of the caller's key"
                )
            call = await self._call(request, record, route.target, headers, body)
            try:
                carried = await self._carrier.carry(call)
            finally:
                record.attempts, record.resent = call.attempts, call.resent
                record.hedged = call.hedged
            self._note_answer(record, carried)
            if mvp and carried.exchange.status == 200:
                answer = await self._mvp_answer(record, carried)
                return self._finished(record, self._labelled(answer, request_id, carried))
            return self._passed_on(record, carried, request_id)
        except Refused as refused:
            record.error = refused.code
            response = error_response(refused)
        except UnknownDataClass:
            record.error = "UnknownDataClass"
            message = f"{DATA_CLASS_HEADER}: the routing config has no such data class"
            response = error_response(Refused(400, "ValidationException", message))
        except (CannotCarry, BrokenAnswer) as error:
            record.error = type(error).__name__
            response = error_response(_cannot(error))
        except Exception as error:  # noqa: BLE001 -- a fault of ours is one caller's 500, not the process's end
            # The message could quote what the caller sent; the place and the type cannot.
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.name}:{place.lineno}"
            logger.error("request failed", extra={"error": type(error).__name__, "where": where})
            record.error = type(error).__name__
            message = "The proxy failed on this request."
            response = error_response(Refused(500, "InternalServerException", message))
        except BaseException as error:
            record.error = type(error).__name__
            if carried is not None:
                carried.exchange.give_up()
            self._finish(record)
            raise
        if carried is not None:
            carried.exchange.give_up()
        return self._finished(record, self._labelled(response, request_id, carried))

    async def _call(
        self,
        request: Request,
        record: RequestRecord,
        target: Target,
        headers: list[tuple[str, str]],
        body: bytes,
    ) -> Call:
        found = request.headers
        if (minimum := found.get(MINIMUM_GENERATION_HEADER)) is not None:
            if not (minimum.isascii() and minimum.isdigit() and len(minimum) <= 15):
                raise _invalid(MINIMUM_GENERATION_HEADER, "must be a whole number")
            await self._source.ensure_generation(int(minimum))
            record.generation = self._source.generation
        resend = found.get(RESEND_HEADER, "allow").lower()
        if resend not in ("allow", "never"):
            raise _invalid(RESEND_HEADER, "must be `allow` or `never`")
        granted = within = None
        if request.grant is not None:
            granted, within = request.grant.data_class, request.grant.within
        record.data_class = found.get(DATA_CLASS_HEADER, granted or within or DEFAULT_DATA_CLASS)
        if len(record.data_class) > 40:
            record.data_class = ""
            raise _invalid(DATA_CLASS_HEADER, "is longer than a data class's name can be")
        if granted is not None and record.data_class != granted:
            message = f"{DATA_CLASS_HEADER}: is not the data class of the caller's key"
            raise Refused(403, "AccessDeniedException", message)
        seconds = self._deadline_seconds
        if request.time_left_seconds is not None:
            seconds = min(seconds, request.time_left_seconds)
        if (asked := found.get(TIMEOUT_HEADER)) is not None:
            seconds = min(seconds, _seconds(TIMEOUT_HEADER, asked))
        return Call(
            target=target,
            headers=headers,
            body=body,
            data_class=record.data_class,
            deadline=record.began + seconds,
            resend=resend == "allow",
            within=within,
        )

    # Routes

    def _resolve(self, path: str) -> Route:
        if match := _MODEL_ROUTE.fullmatch(path):
            operation = match["operation"]
            if operation not in OPERATIONS:
                raise _unknown_route()
            model_id = self._model_id(_decoded(match["model"], "modelId"))
            target = f"/model/{quote(model_id, safe='')}/{operation}"
            asked = Target(target, canonical_path(target), model_id)
            route = Route(operation, model_id, asked)
        elif match := _GUARDRAIL_ROUTE.fullmatch(path):
            guardrail = _identifier(_decoded(match["guardrail"], "guardrailIdentifier"))
            version = _identifier(_decoded(match["version"], "guardrailVersion"))
            target = (
                f"/guardrail/{quote(guardrail, safe='')}/version/{quote(version, safe='')}/apply"
            )
            route = Route("apply-guardrail", "", Target(target, canonical_path(target)))
        else:
            raise _unknown_route()
        if len(self._routes) >= TARGETS_CACHED:
            self._routes.clear()
        self._routes[path] = route
        return route

    def _model_id(self, model_id: str) -> str:
        _identifier(model_id, "modelId")
        if not permits(self._allowed_models, model_id):
            raise Refused(
                403, "AccessDeniedException", "modelId: is not on this proxy's allow-list"
            )
        return model_id

    def _mvp_call(self, request: Request) -> tuple[Route, list[tuple[str, str]], bytes]:
        said = request.headers.get("content-type")
        if said and not _JSON_TYPE.fullmatch(said.strip()):
            raise Refused(415, "ValidationException", "content-type: must be application/json")
        document = _json_object(request.body)
        model_id = document.get("modelId")
        if not isinstance(model_id, str):
            raise _invalid("modelId", "must be a string")
        inner = document.get("body")
        if not isinstance(inner, str | dict):
            raise _invalid("body", "must be a string or an object")
        try:
            text = (
                inner
                if isinstance(inner, str)
                else json.dumps(inner, ensure_ascii=False, allow_nan=False)
            )
            body = text.encode()
        except (ValueError, RecursionError):
            raise _invalid("body", "cannot be written as JSON in UTF-8") from None
        headers: list[tuple[str, str]] = []
        for name, header in (("contentType", "content-type"), ("accept", "accept")):
            value = document.get(name, "application/json")
            if not isinstance(value, str) or not value or not is_header_value(value):
                raise _invalid(name, "must be a media type")
            headers.append((header, value))
        route = self._resolve(f"/model/{quote(self._model_id(model_id), safe='')}/invoke")
        return route, headers, body

    def _own(self, request: Request) -> Response:
        own: dict[str, Callable[[], Response]] = {
            "/healthz": lambda: json_response(200, {"status": "alive"}),
            "/readyz": self._readiness,
            "/metrics": self._exposition,
            "/openapi.json": self._description,
            "/v1/bedrock/models": self._models,
        }
        answer = own.get(request.path)
        if answer is None:
            raise _unknown_route()
        if request.method not in READING:
            _wrong_method("GET, HEAD")
        return answer()

    def _readiness(self) -> Response:
        paths = self._carrier.usable_paths()
        document = {
            "ready": self.ready(),
            "generation": self._source.generation,
            "usable_paths": paths,
        }
        return json_response(200 if self.ready() else 503, document)

    def _exposition(self) -> Response:
        samples = self._samples()
        for status, count in self._edge_refusals.items():
            label = ("status", str(status))
            samples.append(("twinspan_proxy_edge_refusals_total", (label,), float(count)))
        uncounted = float(self._refusal_rows.without_row)
        samples.append(("twinspan_proxy_edge_refusals_without_row_total", (), uncounted))
        for name, state in self._carrier.states.items():
            labels = (("path", name),)
            closed = state.breaker.state is BreakerState.CLOSED
            samples.append(("twinspan_proxy_path_closed", labels, float(closed)))
            samples.append(("twinspan_proxy_in_flight", labels, float(state.upstream.in_flight)))
            samples.append(("twinspan_proxy_pooled", labels, float(state.upstream.idle)))
        body = self._metrics.prometheus(samples).encode()
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        return Response(200, headers, body)

    def _description(self) -> Response:
        if self._openapi is None:
            # Here, so that a cold start does not load what it will hardly be asked for.
            from proxy.openapi import encoded

            self._openapi = encoded(self.body_limit_bytes)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._openapi)).encode()),
        ]
        return Response(200, headers, self._openapi)

    def _models(self) -> Response:
        """What deployment and policy let through: Bedrock's own list is not served by its runtime endpoint."""
        config, listed = self._source.current, self._allowed_models
        if config is not None and (published := config.allowed_models):
            listed = on_both(listed, published) if listed else published
            is_listed = True
        else:
            is_listed = bool(listed)
        models = [{"modelId": model} for model in listed]
        document = {"modelSummaries": models, "allowListed": is_listed}
        return json_response(200, document)

    def _routing_information(self) -> Response:
        config = self._source.current
        if config is None:
            raise _cannot(NoRoutingConfig(0))
        paths = []
        for path in config.paths:
            state = self._carrier.states.get(path.name)
            paths.append(
                {
                    "name": path.name,
                    "routing_method": path.routing_method,
                    "state": path.state,
                    "breaker": state.breaker.state.value if state else None,
                }
            )
        document = {
            "link_id": config.link_id,
            "generation": config.generation,
            "active_path": config.active_path,
            "routing_method": next(
                p.routing_method for p in config.paths if p.name == config.active_path
            ),
            "paths": paths,
            "data_classes": {name: list(m) for name, m in config.data_classes.items()},
            "allowed_models": list(config.allowed_models),
            "resend": config.resend,
            "source_partition": "govcloud",
            "destination_partition": "commercial",
        }
        return json_response(200, document)

    # Answers

    def _note_answer(self, record: RequestRecord, carried: Carried) -> None:
        exchange = carried.exchange
        record.status = exchange.status
        record.path = carried.path.name
        record.routing_method = carried.path.routing_method
        record.generation = carried.generation
        record.connect_seconds = carried.connect_seconds
        if exchange.first_byte_at is not None:
            record.first_byte_seconds = exchange.first_byte_at - record.began

    def _passed_on(self, record: RequestRecord, carried: Carried, request_id: str) -> Response:
        exchange = carried.exchange
        headers: Headers = []
        length: bytes | None = None
        event_stream = False
        dropped = _NOT_PASSED_BACK
        for name, value in exchange.headers:
            if name not in dropped:
                headers.append((name, value))
                if name == b"content-type":
                    event_stream = value.startswith(EVENT_STREAM)
            elif name == b"content-length":
                length = value
            elif name == b"connection" and value.lower() not in (b"close", b"keep-alive"):
                named = {item.strip().lower() for item in value.split(b",")}
                dropped = dropped | named
        if dropped is not _NOT_PASSED_BACK:
            headers = [(name, value) for name, value in headers if name not in dropped]
        whole = exchange.whole()
        if whole is not None:
            headers.append((b"content-length", str(len(whole)).encode()))
            said = _last_said(whole[-TAIL_BYTES:]) if event_stream else whole
            self._count_tokens(record, exchange.headers, said)
            record.response_bytes = len(whole)
            response = Response(exchange.status, headers, whole)
            return self._finished(record, self._labelled(response, request_id, carried))
        if length is not None:
            headers.append((b"content-length", length))
        body = StreamedBody(self, record, carried, framed=event_stream)
        return self._labelled(Response(exchange.status, headers, body), request_id, carried)

    def stream_broke(self, carried: Carried, error: BrokenAnswer) -> None:
        """An answer broke off while it was passed on."""
        self._carrier.answer_broke(carried, error)

    def stream_over(self, record: RequestRecord, carried: Carried, tail: bytes) -> None:
        """An answer was passed on to its end, or given up."""
        self._count_tokens(record, carried.exchange.headers, tail)
        self._finish(record)

    async def _mvp_answer(self, record: RequestRecord, carried: Carried) -> Response:
        exchange = carried.exchange
        gathered = bytearray()
        try:
            while data := await exchange.chunk():
                gathered += data
                if len(gathered) > WRAPPED_LIMIT_BYTES:
                    raise answer_too_large()
        except BrokenAnswer as error:
            self._carrier.answer_broke(carried, error)
            raise
        body = bytes(gathered)
        self._count_tokens(record, exchange.headers, body)
        content_type = next(
            (
                value.decode("latin-1")
                for name, value in exchange.headers
                if name == b"content-type"
            ),
            "application/json",
        )
        document = {
            "body": body.decode(errors="replace"),
            "contentType": content_type,
            "metadata": {
                "routing_method": carried.path.routing_method,
                "tunnel_used": carried.path.name,
                "routing_generation": carried.generation,
                "request_id": record.request_id,
                "model_id": record.model_id,
                "latency_ms": round((self._clock() - record.began) * 1000, 3),
                "source_partition": "govcloud",
                "destination_partition": "commercial",
            },
        }
        passed = [(n, v) for n, v in exchange.headers if n.startswith(b"x-amzn-")]
        response = json_response(200, document, passed)
        record.response_bytes = len(body)
        return response

    def _count_tokens(self, record: RequestRecord, headers: Headers, tail: bytes) -> None:
        for name, value in headers:
            if name == b"x-amzn-bedrock-input-token-count" and _TOKENS.fullmatch(value):
                record.input_tokens = int(value)
            elif name == b"x-amzn-bedrock-output-token-count" and _TOKENS.fullmatch(value):
                record.output_tokens = int(value)
        if record.operation == "count-tokens":
            return  # what it counts nobody used
        if record.input_tokens is None:
            record.input_tokens = _count_in(tail, *_INPUT_TOKENS)
        if record.output_tokens is None:
            record.output_tokens = _count_in(tail, *_OUTPUT_TOKENS)

    def _labelled(self, response: Response, request_id: str, carried: Carried | None) -> Response:
        if carried is not None:
            path = carried.path
            labels = _labels(path.routing_method, path.name, carried.generation)
        else:
            labels = _labels("none", "none", self._source.generation)
        response.headers += labels
        response.headers.append((b"x-request-id", request_id.encode()))
        return response

    def _finished(self, record: RequestRecord, response: Response) -> Response:
        record.status = response.status
        self._finish(record)
        return response

    def _finish(self, record: RequestRecord) -> None:
        record.total_seconds = self._clock() - record.began
        record.success = record.status < 400 and not record.error
        self._metrics.observe(record)
        self._audit.add(record)


class StreamedBody:
    """An answer that is passed on as it comes. Iterate it to the end, or call `aclose`."""

    def __init__(self, api: Api, record: RequestRecord, carried: Carried, *, framed: bool) -> None:
        self._api = api
        self._record = record
        self._carried = carried
        self._frames = FrameKeeper() if framed else None
        self._tail = b""
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            data = await self._next()
        except BaseException as error:
            self._end(type(error).__name__)
            raise
        if not data:
            self._end("")
            raise StopAsyncIteration
        self._record.response_bytes += len(data)
        return data

    async def aclose(self) -> None:
        """The caller left: give up what has not come."""
        self._end("caller left")

    async def _next(self) -> bytes:
        """The next bytes to pass on; none at the end.

        Raises:
            StreamBroke: the answer broke off and nothing can be said within it.
        """
        frames = self._frames
        try:
            while data := await self._carried.exchange.chunk():
                recent = self._tail + data if len(data) < TAIL_BYTES else data
                self._tail = recent[-TAIL_BYTES:]
                passed = data if frames is None else frames.feed(data)
                if passed:
                    return passed
        except BrokenAnswer as error:
            self._record.error = f"stream {error.reason}"
            self._api.stream_broke(self._carried, error)
            if frames is None or not frames.at_boundary:
                raise StreamBroke(error.reason) from None
            self._end("")
            return exception_frame(
                "modelStreamErrorException", "The connection to the model broke off."
            )
        # The upstream may end in order inside a frame: its bytes are passed on, not judged.
        return frames.release() if frames is not None else b""

    def _end(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self._record.error = self._record.error or why
        self._carried.exchange.give_up()
        said = self._tail if self._frames is None else _last_said(self._tail)
        self._api.stream_over(self._record, self._carried, said)


@lru_cache(maxsize=64)
def _labels(routing_method: str, path: str, generation: int) -> Headers:
    return [
        (b"x-routing-method", routing_method.encode()),
        (b"x-tunnel-used", path.encode()),
        (b"x-routing-generation", str(generation).encode()),
        (b"x-source-partition", b"govcloud"),
        (b"x-destination-partition", b"commercial"),
    ]


def too_large(limit_bytes: int) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, "ValidationException", f"body: is larger than {limit_bytes} bytes")


def answer_too_large() -> Refused:
    """The refusal to gather an answer that is longer than what can be kept or returned."""
    message = "The answer is larger than can be returned in this way."
    return Refused(502, "InternalServerException", message, kind="AnswerTooLarge")


def _last_said(tail: bytes) -> bytes:
    """What Bedrock itself says in the last of an invocation's parts; the tail as it is where there is no such."""
    for part in reversed(_PART.findall(tail)):
        with contextlib.suppress(binascii.Error):
            _, found, metrics = base64.b64decode(part).rpartition(_INVOCATION_METRICS)
            if found:
                return metrics
    return tail


def _count_in(tail: bytes, count: re.Pattern[bytes], beginnings: tuple[bytes, ...]) -> int | None:
    """The first such count, of the first such beginning that has one."""
    for beginning in beginnings:
        if (at := tail.find(beginning)) >= 0 and (match := count.search(tail, at)):
            return int(match[1])
    return None


def _ids(at_once: int = 256) -> Iterator[str]:
    """Made-up request ids without end; the system is asked for chance once for many of them."""
    while True:
        drawn = secrets.token_hex(16 * at_once)
        for start in range(0, len(drawn), 32):
            yield drawn[start : start + 32]


_fresh_id = _ids().__next__


def _request_id(headers: dict[str, str]) -> str:
    given = headers.get("x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return _fresh_id()


def _forwarded(headers: dict[str, str]) -> list[tuple[str, str]]:
    """An allow-list, so that neither credentials nor hop-by-hop nor smuggled headers can pass."""
    found = []
    for name, value in headers.items():
        if name in _FORWARDED or name.startswith(_FORWARDED_PREFIX):
            if name not in _FORWARDED and not _HEADER_NAME.fullmatch(name):
                raise _invalid("header", "has a name that no header can have")
            if not is_header_value(value):
                raise _invalid(name, "has characters that a header cannot carry")
            if name == "content-type" and "," in value:
                raise _invalid(name, "must be given once")
            found.append((name, value))
    return found


def _decoded(text: str, field: str) -> str:
    try:
        return unquote_to_bytes(text).decode("ascii")
    except UnicodeError:
        raise _invalid(field, "must be ASCII") from None


def _identifier(value: str, field: str = "guardrailIdentifier") -> str:
    """The value, if it is one segment's worth of identifier and cannot climb out of its place."""
    if not _MODEL_ID.fullmatch(value):
        raise _invalid(field, "has a form that no model or guardrail id has")
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise _invalid(field, "has an empty or relative segment")
    return value


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _invalid("body", "is not JSON") from None
    if not isinstance(document, dict):
        raise _invalid("body", "must be a JSON object")
    return document


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)


def _seconds(name: str, text: str) -> float:
    if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) and float(text) > 0:
        return float(text)
    raise _invalid(name, "must be a positive number of seconds")


def _invalid(field: str, reason: str) -> Refused:
    return Refused(400, "ValidationException", f"{field}: {reason}")


def _unknown_route() -> Refused:
    return Refused(404, "UnknownOperationException", "There is no such operation here.")


def _wrong_method(allow: str) -> NoReturn:
    message = "This operation has another method."
    headers = [(b"allow", allow.encode())]
    raise Refused(405, "UnknownOperationException", message, headers=headers)


def _cannot(error: CannotCarry | BrokenAnswer) -> Refused:
    """How each way of failing reads to a Bedrock SDK."""
    retry = [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
    unavailable = "ServiceUnavailableException"
    if isinstance(error, NoAllowedPath):
        paths = [{"name": name, "reason": reason} for name, reason in error.paths]
        message = "No path that this data class may use brought an answer."
        return Refused(503, unavailable, message, kind="NoAllowedPath", headers=retry, paths=paths)
    if isinstance(error, NoRoutingConfig):
        message = "No routing config has been loaded yet."
        return Refused(503, unavailable, message, kind="NoRoutingConfig", headers=retry)
    if isinstance(error, NoCredential):
        message = "The credential for the commercial partition is not available."
        return Refused(503, unavailable, message, kind="NoCredential", headers=retry)
    if isinstance(error, ModelNotPermitted):
        message = "modelId: is not on the allow-list of this link's policy"
        return Refused(403, "AccessDeniedException", message)
    if isinstance(error, WiderThanGranted):
        message = f"{DATA_CLASS_HEADER}: may use paths that the caller's API key may not"
        return Refused(403, "AccessDeniedException", message)
    if isinstance(error, NotResent):
        message = "The path died before an answer, and the request may not be sent again."
        return Refused(
            502,
            "InternalServerException",
            message,
            kind="NotResent",
            reason=error.reason,
            path=error.path,
        )
    if isinstance(error, AnswerBroke | BrokenAnswer):
        message = "The upstream's answer broke off; the request was not sent again."
        return Refused(
            502, "InternalServerException", message, kind="AnswerBroke", reason=error.reason
        )
    message = "No answer came within the time for this request."
    return Refused(504, "ModelTimeoutException", message, kind="OutOfTime")
