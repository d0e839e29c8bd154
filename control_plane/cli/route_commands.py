"""`twinspan trace`, `validate` and `snapshot`: the route model on the command line.

Answers go to standard output, problems as one line to standard error. Exit codes: 0 answered (for `validate`: nothing
blocks), 1 `validate` found something that blocks, 2 the question or the input is not usable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.adapters.snapshot_files import load_snapshot, save_side
from control_plane.cli.completion import complete_links
from control_plane.cli.context import JsonOption, failing_in_words, print_json
from control_plane.domain.route_model import (
    Change,
    Flow,
    InvalidQuestion,
    InvalidSnapshot,
    Network,
    PlanLimits,
    Trace,
    observed_target,
)
from control_plane.domain.route_model.snapshot import parse_json_text
from control_plane.errors import InvalidDocument, TwinspanError

SnapshotPath = Annotated[
    Path, typer.Option("--snapshot", help="A JSON file of describe outputs, or a folder of them.")
]
_QUERY_KEYS = frozenset(
    {"from", "to", "protocol", "port", "filters", "no_filters", "assume_tunnels_up"}
)


class InvalidPlan(InvalidDocument):
    """A plan file is malformed."""

    document = "plan"


class InvalidQuery(InvalidDocument):
    """A line of a queries file is malformed."""

    document = "queries"


def trace(
    snapshot: SnapshotPath,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A subnet, interface, instance, IP address, VPN connection (its site) or `internet`.",
        ),
    ] = None,
    destination: Annotated[
        str | None, typer.Option("--to", help="An IP address, interface or instance.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="tcp, udp, icmp, a number, or all.")] = "tcp",
    port: Annotated[int | None, typer.Option(help="The destination's port.")] = None,
    no_filters: Annotated[
        bool, typer.Option("--no-filters", help="Leave out security groups and network ACLs.")
    ] = False,
    assume_tunnels_up: Annotated[
        bool, typer.Option("--assume-tunnels-up", help="Take every VPN tunnel for up.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines of from, to, protocol, port, ...: a JSON line is answered to each."
        ),
    ] = None,
) -> None:
    """Where does a packet go, and does the reply come back?

    Examples:

        twinspan trace --snapshot network --from subnet-0a1b --to 172.16.1.10 --port 443
    """
    try:
        network = Network.build(load_snapshot(snapshot))
        if queries is not None:
            _answer_all(network, queries, protocol, port, no_filters, assume_tunnels_up)
            return
        if source is None or destination is None:
            raise InvalidQuestion("--from, --to", "both are needed, or --queries")
        answer = network.trace(
            source,
            destination,
            protocol,
            _default_port(protocol, port),
            filters=not no_filters,
            assume_tunnels_up=assume_tunnels_up,
        )
    except TwinspanError as error:
        raise _refused(error) from None
    typer.echo(json.dumps(answer.to_dict(), indent=2) if as_json else answer.describe())


def validate(
    snapshot: SnapshotPath,
    plan: Annotated[
        Path | None,
        typer.Option(help="JSON: the changes, and optionally flows, limits and private subnets."),
    ] = None,
    assume_tunnels_up: Annotated[
        bool, typer.Option("--assume-tunnels-up", help="Take every VPN tunnel for up.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """What would a plan change? Without a plan: what is wrong already?

    Examples:

        twinspan validate --snapshot network --plan plan.json
    """
    try:
        network = Network.build(load_snapshot(snapshot))
        if plan is None:
            report = network.audit()
        else:
            changes, flows, limits, private = _read_plan(network, plan)
            report = network.validate(changes, flows, limits, assume_tunnels_up)
            if private:
                report = report.with_isolation(network, changes, private)
    except TwinspanError as error:
        raise _refused(error) from None
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.describe())
    if not report.ok:
        raise typer.Exit(1)


def snapshot(
    out: Annotated[Path, typer.Option("--out", help="The folder to write: a subfolder per side.")],
    link: Annotated[
        str,
        typer.Option(
            "--link",
            envvar="TWINSPAN_LINK",
            help="The link whose two sides are described.",
            autocompletion=complete_links,
        ),
    ] = "bedrock",
    side: Annotated[
        list[str] | None,
        typer.Option(
            "--side",
            help="NAME=PROFILE or NAME=PROFILE@REGION: describe this account instead of the link's sides.",
        ),
    ] = None,
    commercial_endpoint_url: Annotated[
        str | None,
        typer.Option(
            envvar="TWINSPAN_COMMERCIAL_ENDPOINT_URL",
            help="Another endpoint for the commercial side.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe both partitions as they are now. Reads only.

    Examples:

        twinspan snapshot --out network
    """
    # boto3 is slow to import, and only this command calls AWS.
    from control_plane.adapters.snapshot import describe_side

    sides_told: dict[str, dict[str, int]] = {}
    try:
        with failing_in_words("describing both sides …"):
            for name, client in _clients(link, side or [], commercial_endpoint_url).items():
                described = describe_side(client)
                save_side(out / name, described)
                count = sum(len(items) for items in described.values())
                sides_told[name] = {"resources": count, "kinds": len(described)}
    except OSError as error:
        raise _refused(InvalidSnapshot(str(out), f"cannot be written: {error.strerror}")) from None
    if as_json:
        print_json({"folder": str(out), "sides": sides_told})
        return
    for name, told in sides_told.items():
        typer.echo(
            f"{name}: {told['resources']} resources of {told['kinds']} kinds in {out / name}"
        )


def _refused(error: TwinspanError) -> typer.Exit:
    typer.echo(str(error).replace("\n", " "), err=True)
    return typer.Exit(2)


def _default_port(protocol: str, port: int | None) -> int | None:
    return 443 if port is None and protocol.lower() in ("tcp", "udp", "6", "17") else port


def _answer_all(
    network: Network,
    queries: Path,
    protocol: str,
    port: int | None,
    no_filters: bool,
    assume_tunnels_up: bool,
) -> None:
    """A line each. An unanswerable question gets `{"error": ...}` in its place, and the exit code tells."""
    defaults = {
        "protocol": protocol,
        "port": port,
        "filters": not no_filters,
        "assume_tunnels_up": assume_tunnels_up,
    }
    failed = False
    for number, line in _lines(queries):
        try:
            answer = _answer(network, f"{queries}: line {number}", line, defaults).to_dict()
        except InvalidQuestion as error:
            failed = True
            answer = {"error": f"{queries}: line {number}: {error}"}
            typer.echo(answer["error"], err=True)
        typer.echo(json.dumps(answer))
    if failed:
        raise typer.Exit(2)


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidQuery(str(path), f"cannot be read: {error}") from None
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _answer(network: Network, place: str, line: str, defaults: Mapping[str, Any]) -> Trace:
    try:
        query = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidQuery(place, f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(query, dict):
        raise InvalidQuery(place, "is not an object")
    unknown = set(query) - _QUERY_KEYS
    if unknown:
        raise InvalidQuery(place, f"unknown keys {', '.join(sorted(unknown))}")
    for key in ("from", "to"):
        if not isinstance(query.get(key), str):
            raise InvalidQuery(place, f"needs {key!r} as text")
    merged = {**defaults, **query}
    if merged["port"] is not None and not isinstance(merged["port"], int):
        raise InvalidQuery(place, "port is not a number")
    filters = merged["filters"] is True and merged.get("no_filters") is not True
    return network.trace(
        query["from"],
        query["to"],
        str(merged["protocol"]),
        _default_port(str(merged["protocol"]), merged["port"]),
        filters=filters,
        assume_tunnels_up=merged["assume_tunnels_up"] is True,
    )


def _read_plan(
    network: Network, path: Path
) -> tuple[list[Change], list[Flow], PlanLimits, list[str]]:
    """`[changes]`, or `{"changes", "flows", "limits": {"allowed_tables", "max_changes"}, "private"}`.

    A change without `before` is taken to expect what is observed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPlan(str(path), f"cannot be read: {error}") from None
    data = parse_json_text(str(path), text)
    if isinstance(data, list):
        data = {"changes": data}
    if not isinstance(data, dict) or not isinstance(data.get("changes", []), list):
        raise InvalidPlan(str(path), "is neither a list of changes nor an object with `changes`")
    changes = [
        _change(network, f"changes[{index}]", item)
        for index, item in enumerate(data.get("changes", []))
    ]
    flows = [_flow(f"flows[{index}]", item) for index, item in enumerate(data.get("flows") or [])]
    limits = data.get("limits") or {}
    if not isinstance(limits, dict):
        raise InvalidPlan("limits", "is not an object")
    allowed = limits.get("allowed_tables")
    plan_limits = PlanLimits(
        frozenset(allowed) if allowed is not None else None, limits.get("max_changes")
    )
    return changes, flows, plan_limits, list(data.get("private") or [])


def _change(network: Network, place: str, item: Any) -> Change:
    if not isinstance(item, dict):
        raise InvalidPlan(place, "is not an object")
    for key in ("table_id", "destination"):
        if not isinstance(item.get(key), str):
            raise InvalidPlan(f"{place}.{key}", "is needed, as text")
    if "after" not in item:
        raise InvalidPlan(f"{place}.after", "is needed: a target, or null to delete the route")
    table_id, destination = item["table_id"], item["destination"]
    before = item["before"] if "before" in item else observed_target(network, table_id, destination)
    kind = "transit-gateway" if table_id.startswith("tgw-rtb-") else "vpc"
    return Change(
        str(item.get("side", "")),
        str(item.get("table_kind", kind)),
        table_id,
        destination,
        before,
        item["after"],
    )


def _flow(place: str, item: Any) -> Flow:
    if not isinstance(item, dict):
        raise InvalidPlan(place, "is not an object")
    source = item.get("source", item.get("from"))
    destination = item.get("destination", item.get("to"))
    if not isinstance(source, str) or not isinstance(destination, str):
        raise InvalidPlan(place, "needs source and destination")
    protocol = str(item.get("protocol", "tcp"))
    return Flow(source, destination, protocol, _default_port(protocol, item.get("port")))


def _clients(link: str, sides: list[str], commercial_endpoint_url: str | None) -> dict[str, Any]:
    """An EC2 client per side: named accounts, or the link's two sides as its topology and credential tell."""
    if sides:
        return dict(_named_client(text) for text in sides)
    from control_plane.adapters.aws import AwsSession
    from control_plane.adapters.secrets import commercial_credential
    from control_plane.adapters.ssm import LinkDocuments
    from control_plane.domain.topology import SideName

    session = AwsSession()
    topology = LinkDocuments(session).topology(link)
    credential = commercial_credential(session, topology.credentials_secret_id)
    commercial = AwsSession(
        region=topology.sides[SideName.COMMERCIAL].region,
        access_key_id=credential.aws_access_key_id,
        secret_access_key=credential.aws_secret_access_key.get_secret_value(),
        endpoint_url=commercial_endpoint_url,
    )
    return {
        str(SideName.GOVCLOUD): session.client("ec2"),
        str(SideName.COMMERCIAL): commercial.client("ec2"),
    }


def _named_client(text: str) -> tuple[str, Any]:
    import boto3
    from botocore.exceptions import BotoCoreError

    from control_plane.adapters.aws import CONFIG

    name, equals, account = text.partition("=")
    profile, _, region = account.partition("@")
    if not equals or not name or not profile:
        raise InvalidQuestion("--side", f"{text!r} is not NAME=PROFILE or NAME=PROFILE@REGION")
    try:
        session = boto3.Session(profile_name=profile, region_name=region or None)
        return name, session.client("ec2", config=CONFIG)
    except BotoCoreError as error:
        raise InvalidQuestion("--side", f"{text!r}: {error}") from None
