"""The proxy's HTTP interfaces, whichever edge carries them.

Three of them: Bedrock runtime's own (`/model/{modelId}/converse` and its siblings, so that a stock SDK needs
only another endpoint URL), the existing MVP's (`/v1/bedrock/…`, with `/bedrock` as an alias), and the process's
own (`/healthz`, `/readyz`, `/metrics`, `/openapi.json`, which describes them all): `routes`, `mvp` and `own_pages`. What
is common to them is here: whose request it is, what is asked of its carrying, and the record that is left of it. What the
upstream says is passed on as it is (`answers`): status, body, `x-amzn-*` headers. Bodies are not read for their meaning,
save that token counts are picked out of them as numbers.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
import traceback
from collections.abc import Callable, Iterator

from proxy.answers import StreamedBody, labels, passed_back
from proxy.audit import AuditLog
from proxy.audit_rows import RequestRecord
from proxy.carrier import Call, CannotCarry, Carried, Carrier, Target
from proxy.config_source import ConfigSource
from proxy.errors import BrokenAnswer
from proxy.messages import Refused, Request, Response, error_response
from proxy.metrics import Metrics, Sample
from proxy.mvp import MVP_INVOKE, ROUTING_INFORMATION, read_call, wrapped
from proxy.own_pages import READING, OwnPages
from proxy.refusal_rows import RefusalRows
from proxy.refusals import DATA_CLASS_HEADER, cannot, invalid, too_large, wrong_method
from proxy.routes import Route, Routes, forwarded
from proxy.selection import DEFAULT_DATA_CLASS, UnknownDataClass
from proxy.tokens import TAIL_BYTES, count_tokens, last_said

logger = logging.getLogger(__name__)

MINIMUM_GENERATION_HEADER = "x-twinspan-min-generation"
RESEND_HEADER = "x-twinspan-resend"
TIMEOUT_HEADER = "x-twinspan-timeout-seconds"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


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
        self._routes = Routes(allowed_models)
        self._refusals = refusals = RefusalRows(audit, clock)
        self._own = OwnPages(
            carrier,
            source,
            metrics,
            lambda: samples() + refusals.samples(),
            allowed_models=allowed_models,
            body_limit_bytes=body_limit_bytes,
        )
        self.body_limit_bytes = body_limit_bytes

    async def handle(self, request: Request) -> Response:
        """Answer; never raises for anything that a caller or an upstream did."""
        request_id = _request_id(request.headers)
        path = request.path
        route = self._routes.known(path)
        try:
            if (
                route is None
                and path not in MVP_INVOKE
                and not path.startswith(("/model/", "/guardrail/"))
            ):
                return self._labelled(self._own.answer(request), request_id, None)
            if route is not None and request.method != "POST":
                wrong_method("POST")
            if path == ROUTING_INFORMATION and request.method in READING:
                return self._labelled(self._own.routing_information(), request_id, None)
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
        self._refusals.add(request_id, source_ip, caller, refused.status, refused.code)
        return self._refusal(refused, request_id)

    def _refusal(self, refused: Refused, request_id: str) -> Response:
        self._refusals.count(refused.status)
        return self._labelled(error_response(refused), request_id, None)

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
                    wrong_method(f"{also}POST")
                route, headers, body = read_call(request, self._routes)
            else:
                if route is None:
                    if request.method != "POST":
                        wrong_method("POST")
                    route = self._routes.resolve(request.path)
                headers, body = forwarded(request.headers), request.body
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
                try:
                    answer = await wrapped(record, carried, self._clock)
                except BrokenAnswer as error:
                    self._carrier.answer_broke(carried, error)
                    raise
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
            response = error_response(cannot(error))
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
                raise invalid(MINIMUM_GENERATION_HEADER, "must be a whole number")
            await self._source.ensure_generation(int(minimum))
            record.generation = self._source.generation
        resend = found.get(RESEND_HEADER, "allow").lower()
        if resend not in ("allow", "never"):
            raise invalid(RESEND_HEADER, "must be `allow` or `never`")
        granted = within = None
        if request.grant is not None:
            granted, within = request.grant.data_class, request.grant.within
        record.data_class = found.get(DATA_CLASS_HEADER, granted or within or DEFAULT_DATA_CLASS)
        if len(record.data_class) > 40:
            record.data_class = ""
            raise invalid(DATA_CLASS_HEADER, "is longer than a data class's name can be")
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
        headers, length, event_stream = passed_back(exchange.headers)
        whole = exchange.whole()
        if whole is not None:
            headers.append((b"content-length", str(len(whole)).encode()))
            said = last_said(whole[-TAIL_BYTES:]) if event_stream else whole
            count_tokens(record, exchange.headers, said)
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
        count_tokens(record, carried.exchange.headers, tail)
        self._finish(record)

    def _labelled(self, response: Response, request_id: str, carried: Carried | None) -> Response:
        if carried is not None:
            path = carried.path
            response.headers += labels(path.routing_method, path.name, carried.generation)
        else:
            response.headers += labels("none", "none", self._source.generation)
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


def _seconds(name: str, text: str) -> float:
    if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) and float(text) > 0:
        return float(text)
    raise invalid(name, "must be a positive number of seconds")
