"""Commands about callers' bearer keys: make one, list them, take one back."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.caller_keys import CallerKeyTable
from control_plane.cli.context import (
    EXIT_NOT_DONE,
    JsonOption,
    err,
    failing_in_words,
    out,
    print_json,
)
from control_plane.domain.caller_keys import CallerKey

key_app = typer.Typer(help="Bearer keys of the proxy's callers.", no_args_is_help=True)
TableOption = Annotated[
    str, typer.Option("--table", envvar="TWINSPAN_KEYS_TABLE", help="The table of keys.")
]
DEFAULT_TABLE = "twinspan-caller-keys"


@key_app.command("create")
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
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only its digest is stored.

    Examples:

        twinspan key create team-a --model "anthropic.*" --data-class default
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
        CallerKeyTable(AwsSession(), table).add(record)
    if as_json:
        print_json({"key": key, **_described(record, now)})
        return
    out.print(key, markup=False)
    err.print(
        f"key {record.key_id} for {principal}, until {record.expires_at:%Y-%m-%d %H:%M} UTC;"
        " it cannot be shown again",
        markup=False,
    )


@key_app.command("list")
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
        models = ", ".join(key.allowed_models) or "all models"
        out.print(
            f"{key.key_id}  {key.state(now):8}  until {key.expires_at:%Y-%m-%d}  {key.principal}"
            f"  {key.data_class or 'any data class'}  {models}",
            markup=False,
        )


@key_app.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="As `twinspan key list` shows it.")],
    table: TableOption = DEFAULT_TABLE,
    as_json: JsonOption = False,
) -> None:
    """Take a key back. Edges that remember it let go of it within their cache's time.

    Examples:

        twinspan key revoke 3f2a9c1d
    """
    with failing_in_words():
        keys = CallerKeyTable(AwsSession(), table)
        found = next((key for key in keys.all() if key.key_id == key_id), None)
        if found is None or not keys.revoke(found.key_digest, datetime.now(UTC)):
            reason = "there is no such key" if found is None else "it was revoked before"
            err.print(f"key {key_id}: {reason}", markup=False)
            raise typer.Exit(EXIT_NOT_DONE)
    if as_json:
        print_json({"key_id": key_id, "state": "revoked"})
    else:
        out.print(f"key {key_id} revoked", markup=False)


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
