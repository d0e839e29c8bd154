"""The console's routes: the page, its live feed, evidence, and what an operator starts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from control_plane.console import act
from control_plane.console.feed import Feed, Page, digest
from control_plane.console.guard import Guard, Keys, form_is_ours
from control_plane.console.view import make
from control_plane.errors import TwinspanError
from control_plane.overview.reading import Reader
from control_plane.wiring import Control

HERE = Path(__file__).parent
REGIONS = ("headline", "picture", "actions", "paths", "timeline", "plan")
_MAXIMUM_FORM_BYTES = 8192
_REFERENCE = re.compile(r"^[0-9a-f]{64}$")
_SAID = re.compile(r"^[A-Za-z0-9_.:;, -]{1,200}$")


@dataclass(frozen=True, slots=True)
class Options:
    """How the console was started. `refresh_seconds` between readings; charts have periods of `period_seconds`."""

    link_id: str
    allow_actions: bool = False
    refresh_seconds: float = 1.0
    period_seconds: int = 60


def application(control: Control, options: Options, keys: Keys) -> Starlette:
    """The ASGI application; its `state.feed` ends the streams of open pages."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(options=options, form_key=keys.form, digest=digest)
    reader = Reader(control, options.link_id, options.period_seconds)

    def read() -> Page:
        view = make(reader.read())
        regions = {
            name: templates.get_template(f"regions/{name}.html").render(view=view)
            for name in REGIONS
        }
        return Page(view.read_at.isoformat(timespec="milliseconds"), regions)

    feed = Feed(read, options.refresh_seconds)

    def html(name: str, status: int = 200, **values: object) -> Response:
        return HTMLResponse(templates.get_template(name).render(**values), status)

    async def index(request: Request) -> Response:
        said = request.query_params.get("said", "")
        try:
            page = await feed.page()
        except TwinspanError as error:
            return html("trouble.html", 503, title="Cannot read the link", text=_words(error))
        return html("page.html", page=page, said=said if _SAID.match(said) else "")

    async def events(request: Request) -> Response:
        return StreamingResponse(feed.events(), media_type="text/event-stream")

    async def evidence(request: Request) -> Response:
        reference = request.path_params["reference"]
        if not _REFERENCE.match(reference):
            return html("trouble.html", 404, title="No such evidence", text="Not a reference.")
        try:
            document = await run_in_threadpool(control.evidence.get, reference)
        except (KeyError, ValueError, TwinspanError) as error:
            return html("trouble.html", 404, title="No such evidence", text=_words(error))
        text = json.dumps(document, indent=2, ensure_ascii=False)
        return html("evidence.html", reference=reference, text=text)

    async def action(request: Request) -> Response:
        if not options.allow_actions:
            text = "This console only looks. Start it with --allow-actions to act."
            return html("trouble.html", 403, title="Read-only", text=text)
        body = await _body(request)
        form = {k: v[-1] for k, v in parse_qs(body, max_num_fields=20).items()} if body else {}
        if not form_is_ours(keys, form.get("form_key", "")):
            text = "The form is not from this console's page, or from before its restart."
            return html("trouble.html", 403, title="Not done", text=text)
        try:
            said = await run_in_threadpool(
                act.perform, control, options.link_id, request.path_params["action"], form
            )
        except TwinspanError as error:
            return html("trouble.html", 400, title="Not done", text=_words(error))
        return RedirectResponse("/?" + urlencode({"said": said}), 303)

    application = Starlette(
        routes=[
            Route("/", index),
            Route("/events", events),
            Route("/evidence/{reference}", evidence),
            Route("/actions/{action}", action, methods=["POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(Guard, keys=keys)],
    )
    application.state.feed = feed
    return application


async def _body(request: Request) -> str:
    """The form as sent; empty when it is larger than any form of ours."""
    received = b""
    async for part in request.stream():
        received += part
        if len(received) > _MAXIMUM_FORM_BYTES:
            return ""
    return received.decode(errors="replace")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
