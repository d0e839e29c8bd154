"""The embedded cloud from a shell: `python -m infra.local`.

`up` runs it until Ctrl-C; `env`, `status`, `cut`, `blackhole`, `slow`, `refuse`, `break`, `heal` and `down`
talk to it from another terminal; `demo` plays an outage on one of its own. With `--lab` the network is real:
IPsec and BGP between network namespaces. Exit codes: 0, or 2 for something that the user can mend, with
the reason on standard error.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from infra.local import control
from infra.local.faults import LAB_ONLY, FaultKind
from infra.local.lab import requirements
from infra.local.sides import Side

EXIT_USAGE = 2
DEMO_SECONDS_PER_MINUTE = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except control.ControlError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local",
        description="Both AWS partitions, the deployed link and its proxy, on this machine.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="run it until Ctrl-C")
    up.add_argument(
        "--seconds-per-minute",
        type=_seconds_per_minute,
        default=DEMO_SECONDS_PER_MINUTE,
        metavar="N",
        help="real seconds that AWS's minute (alarm periods, schedules) takes: 0.01 to 60, "
        "default %(default)g; 60 is real time",
    )
    _add_lab(up)
    up.set_defaults(run=_up)

    env = commands.add_parser("env", help="print shell exports for the running one")
    env.add_argument(
        "--side",
        choices=[side.value for side in Side],
        default=Side.GOVCLOUD.value,
        help="whose region and credentials (default: %(default)s)",
    )
    env.set_defaults(run=_env)

    for name, text in (
        ("cut", "let a tunnel's packets vanish; AWS notices after dead peer detection"),
        ("blackhole", "let packets vanish while the tunnel stays UP"),
        ("refuse", "let an endpoint fail and refuse connections"),
        ("heal", "take a target's fault away; 'all' for every fault"),
    ):
        fault = commands.add_parser(name, help=text)
        fault.add_argument("target", help="for example tunnel-1, tunnel-1:2 or endpoint-1")
        fault.set_defaults(run=_fault, command=name)
    slow = commands.add_parser("slow", help="add delay to a target's round trips")
    slow.add_argument("target", help="for example tunnel-1 or endpoint-1")
    slow.add_argument("--ms", type=int, default=200, help="milliseconds (default: %(default)s)")
    slow.set_defaults(run=_slow)

    broken = commands.add_parser("break", help="what else can go wrong with a tunnel of the lab")
    broken.add_argument("target", help="for example tunnel-1 or tunnel-1:2")
    broken.add_argument(
        "fault",
        choices=[kind.value for kind in LAB_ONLY],
        help="; ".join(f"{kind}: {meaning}" for kind, meaning in LAB_ONLY.items()),
    )
    broken.set_defaults(run=_break)

    status = commands.add_parser("status", help="paths, tunnels, faults and traffic")
    status.set_defaults(run=_status)
    down = commands.add_parser("down", help="end the running one")
    down.set_defaults(run=_down)

    demo = commands.add_parser("demo", help="play an outage and say whether the promise held")
    demo.add_argument("scenario", nargs="?", default="tunnel-down", choices=_scenarios())
    _add_lab(demo)

    report = commands.add_parser("lab-report", help="break a real tunnel in every way; one table")
    report.set_defaults(run=_lab_report)
    demo.set_defaults(run=_demo)
    return parser


def _add_lab(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--lab",
        action="store_true",
        help="over real IPsec and BGP between network namespaces (root, Debian packages)",
    )


def _scenarios() -> list[str]:
    from infra.local.demo.lab_scenarios import LAB_SCENARIOS
    from infra.local.demo.scenarios import SCENARIOS

    return [*SCENARIOS, *LAB_SCENARIOS]


def _seconds_per_minute(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.01 <= seconds <= 60.0:
        raise argparse.ArgumentTypeError(f"must be between 0.01 and 60, not {text}")
    return seconds


def _up(options: argparse.Namespace) -> int:
    # Importing moto takes a second, which the other commands need not wait for.
    from infra.local.console import LocalConsole
    from infra.local.demo.scenarios import POLICY
    from infra.local.environment import Environment

    ending = threading.Event()

    def end(signal_number: int, frame: FrameType | None) -> None:
        ending.set()

    if options.lab and (missing := requirements.missing()) is not None:
        raise control.ControlError(missing)
    environment = Environment(
        policy=POLICY, seconds_per_minute=options.seconds_per_minute, lab=options.lab
    )
    server = control.ControlServer(
        {
            "env": lambda request: environment.exports(request.get("side", Side.GOVCLOUD)),
            "status": lambda request: environment.status(),
            "cut": lambda request: environment.faults.cut(request["target"]),
            "blackhole": lambda request: environment.faults.blackhole(request["target"]),
            "refuse": lambda request: environment.faults.refuse(request["target"]),
            "break": lambda request: environment.faults.inject(
                request["target"], FaultKind(request["fault"])
            ),
            "slow": lambda request: environment.faults.slow(request["target"], request["ms"]),
            "heal": lambda request: environment.heal(request["target"]),
            "down": lambda request: ending.set(),
        }
    )
    server.start()  # first, so that a second `up` fails before it has started anything
    previous = signal.signal(signal.SIGTERM, end)
    try:
        with environment, LocalConsole(environment) as console:
            _print_how_to_use(environment, console.url)
            ending.wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.stop()
        signal.signal(signal.SIGTERM, previous)
    print("The embedded cloud is down.")
    return 0


def _print_how_to_use(environment: Any, console_url: str) -> None:
    more = ", break" if environment.is_in_the_lab else ""
    print(
        f"The embedded cloud is up; AWS's minute takes {environment.seconds_per_minute:g} s here.\n"
        f"\n"
        f"  AWS APIs        {environment.endpoint_url}\n"
        f"  proxy           {environment.proxy_url}\n"
        f"  API Gateway     {environment.api_url}\n"
        f"  state machine   {environment.state_machine_arn}\n"
        f"  console         {console_url}\n"
        f"\n"
        f"In another terminal:\n"
        f'  eval "$(python -m infra.local env)"        then use aws, boto3 or twinspan as usual\n'
        f"  python -m infra.local cut tunnel-1         also blackhole, slow --ms N, refuse, heal{more}\n"
        f"  python -m infra.local status\n"
        f"\n"
        f"Targets: {', '.join(environment.faults.targets())}\n"
        f"Ctrl-C ends it; nothing is kept.",
        flush=True,
    )


def _env(options: argparse.Namespace) -> int:
    exports = control.send("env", side=options.side)
    for name, value in {**exports, "AWS_CONFIG_FILE": str(_profiles())}.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _profiles() -> Path:
    """An AWS configuration with a profile per side, as `twinspan deploy` and `doctor` want them; beside the socket."""
    sections = []
    for side in Side:
        of_side = control.send("env", side=side.value)
        sections.append(
            f"[profile {side.value}]\n"
            f"region = {of_side['AWS_REGION']}\n"
            f"endpoint_url = {of_side['AWS_ENDPOINT_URL']}\n"
            f"aws_access_key_id = {of_side['AWS_ACCESS_KEY_ID']}\n"
            f"aws_secret_access_key = {of_side['AWS_SECRET_ACCESS_KEY']}\n"
        )
    path = control.socket_path().parent / "aws-config"
    path.write_text("\n".join(sections))
    return path


def _fault(options: argparse.Namespace) -> int:
    control.send(options.command, target=options.target)
    return _status(options)


def _break(options: argparse.Namespace) -> int:
    control.send("break", target=options.target, fault=options.fault)
    return _status(options)


def _slow(options: argparse.Namespace) -> int:
    control.send("slow", target=options.target, ms=options.ms)
    return _status(options)


def _down(options: argparse.Namespace) -> int:
    control.send("down")
    return 0


def _status(options: argparse.Namespace) -> int:
    status = control.send("status")
    print(
        f"routing config   generation {status['generation']}, active path {status['active_path']}"
    )
    for path in status["paths"]:
        state = "carries" if path["mode"] == "open" else path["mode"]
        counted = "" if path["connections"] is None else f"{path['connections']} connections, "
        slow = f", +{path['delay_milliseconds']} ms" if path["delay_milliseconds"] else ""
        print(
            f"{path['name']:<16} {state}{slow}; {counted}{path['bytes_out']} bytes out, "
            f"{path['bytes_in']} in  ({path['address']})"
        )
        if path["reason"]:
            print(f"{'':<16} {path['reason']}")
        for number, tunnel in enumerate(path["tunnels"], start=1):
            print(
                f"  {path['name'] + ':' + str(number):<14} {tunnel['status']:<5}"
                f" {tunnel['outside_address']} of {tunnel['vpn_connection_id']}"
            )
    for target, fault in status["faults"].items():
        print(f"fault            {target}: {fault}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from rich.console import Console

    from infra.local.demo.lab_scenarios import LAB_SCENARIOS
    from infra.local.demo.play import play

    in_the_lab = options.lab or options.scenario in LAB_SCENARIOS
    if in_the_lab and (missing := requirements.missing()) is not None:
        raise control.ControlError(missing)
    console = Console(highlight=False, soft_wrap=True)
    return play(options.scenario, console, lab=in_the_lab)


def _lab_report(options: argparse.Namespace) -> int:
    from rich.console import Console

    if (missing := requirements.missing()) is not None:
        raise control.ControlError(missing)
    from infra.local.lab.report import report

    return report(Console(soft_wrap=False))


if __name__ == "__main__":
    sys.exit(main())
