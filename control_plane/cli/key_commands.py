"""Commands about callers' bearer keys: make one, list them, take one back."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.caller_keys import CallerKeyTable
from control_plane.cli.asking import DryRunOption, YesOption, ask
from control_plane.cli.context import (
    EXIT_NOT_DONE,
    JsonOption,
    err,
    failing_in_words,
    out,
    print_json,
)
from control_plane.cli.exits import SAID_NO, exits
from control_plane.domain.caller_keys import CallerKey

key_app = typer.Typer(help="Bearer keys of the proxy's callers.", no_args_is_help=True)
TableOption = Annotated[
    str, typer.Option("--table", envvar="TWINSPAN_KEYS_TABLE", help="The table of keys.")
]
DEFAULT_TABLE = "twinspan-caller-keys"


@key_app.command("create", epilog=exits(SAID_NO))
def key_create(
    principal: Annotated[str, typer.Argument(help="Whom the key is for; named in the audit.")],
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Valid for.")] = 90,
    data_class: Annotated[
        str | None, typer.Option("--data-class", help="The only data class it may ask for.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="An allowed model id, or `prefix*`.")
    ] = None,
    usage_plan: Annotated[
        str | None,
        typer.Option(
            "--usage-plan", help="Value of the API key whose usage plan counts its calls."
        ),
    ] = None,
    table: TableOption = DEFAULT_TABLE,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only its digest is stored.

    Examples:

        twinspan key create team-a --model "anthropic.*" --data-class default

        key="$(twinspan key create team-a --yes)"
    """
    now = datetime.now(UTC)
    with failing_in_words():
        record, key = CallerKey.made(
            key_id=secrets.token_hex(6),
            secret=secrets.token_urlsafe(32),
            principal=principal,
            created_at=now,
            expires_at=now + timedelta(days=days),
            data_class=data_class,
            allowed_models=tuple(model or ()),
            usage_plan=usage_plan,
        )
        err.print(f"a key for {_in_words(record)}", markup=False)
        if not dry_run:
            ask(yes, "Make it?")
            CallerKeyTable(AwsSession(), table).add(record)
    if dry_run:
        if as_json:
            print_json({"key": None, **_described(record, now), "key_id": None})
        return
    if as_json:
        print_json({"key": key, **_described(record, now)})
        return
    out.print(key, markup=False)
    err.print(f"key {record.key_id}; it cannot be shown again", markup=False)


@key_app.command("list", epilog=exits())
def key_list(table: TableOption = DEFAULT_TABLE, as_json: JsonOption = False) -> None:
    """List the keys, never the secrets.

    Examples:

        twinspan key list
    """
    now = datetime.now(UTC)
    with failing_in_words():
        keys = CallerKeyTable(AwsSession(), table).all()
    if as_json:
        print_json([_described(key, now) for key in keys])
        return
    for key in keys:
        out.print(f"{key.key_id}  {key.state(now):8}  {_in_words(key)}", markup=False)
    if not keys:
        err.print(f"no keys in {table}", markup=False)


@key_app.command(
    "revoke", epilog=exits(f"{SAID_NO}, or there is no such key, or it was revoked before")
)
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="As `twinspan key list` shows it.")],
    table: TableOption = DEFAULT_TABLE,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a key back. Edges that remember it let go of it within their cache's time.

    Examples:

        twinspan key revoke 3f2a9c1d
    """
    now = datetime.now(UTC)
    with failing_in_words():
        keys = CallerKeyTable(AwsSession(), table)
        found = next((key for key in keys.all() if key.key_id == key_id), None)
        if found is None or found.revoked_at is not None:
            raise _not_there(key_id, found)
        err.print(f"key {key_id} of {_in_words(found)}", markup=False)
        if not dry_run:
            ask(yes, "Take it back?")
            if not keys.revoke(found.key_digest, datetime.now(UTC)):
                raise _not_there(key_id, found)
    if as_json:
        print_json({"key_id": key_id, "state": found.state(now) if dry_run else "revoked"})
    elif not dry_run:
        out.print(f"key {key_id} revoked", markup=False)


def _not_there(key_id: str, found: CallerKey | None) -> typer.Exit:
    reason = "there is no such key" if found is None else "it was revoked before"
    err.print(f"key {key_id}: {reason}", markup=False)
    return typer.Exit(EXIT_NOT_DONE)


def _in_words(key: CallerKey) -> str:
    """Whose it is and what it opens."""
    models = ", ".join(key.allowed_models) or "all models"
    data_class = key.data_class or "any data class"
    return f"{key.principal}, until {key.expires_at:%Y-%m-%d %H:%M} UTC, {data_class}, {models}"


def _described(key: CallerKey, now: datetime) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "state": key.state(now),
        "principal": key.principal,
        "data_class": key.data_class,
        "allowed_models": list(key.allowed_models),
        "usage_plan": key.usage_plan,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
