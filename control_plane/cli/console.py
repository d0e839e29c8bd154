"""`twinspan console`: the live page, on loopback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from control_plane.cli.context import (
    JsonOption,
    LinkOption,
    control,
    failing_in_words,
    out,
    print_json,
)


def console(
    link: LinkOption = "bedrock",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0 takes any.")
    ] = 8737,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Let the page start failovers and the like.")
    ] = False,
    refresh_seconds: Annotated[
        float,
        typer.Option(min=0.2, max=60, help="How often the link is read while a page is open."),
    ] = 1.0,
    chart_period_seconds: Annotated[
        int, typer.Option(min=1, max=3600, help="Length of a period in the charts.")
    ] = 60,
    as_json: JsonOption = False,
) -> None:
    """Show the link live in a browser: paths, evidence, plans, and what can be done.

    Examples:

        twinspan console --allow-actions
    """
    # A web server, which the other commands need not load.
    from control_plane.console.app import Options
    from control_plane.console.serve import serve

    options = Options(link, allow_actions, refresh_seconds, chart_period_seconds)
    with failing_in_words():
        serve(control(link), options, port, _say_as_json if as_json else _say)


def _say_as_json(address: str) -> None:
    print_json({"url": address})
    sys.stdout.flush()


def _say(address: str) -> None:
    out.print(f"console listening on {address}", markup=False, soft_wrap=True)
    out.print("The address holds the key to it: keep it to yourself. Ctrl-C ends it.")
