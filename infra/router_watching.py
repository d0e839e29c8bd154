"""What the edge routers log and measure: files that are part of their configuration.

Each minute a timer of the router's own appends what its daemons wrote to the journal, and a line of metrics for each
tunnel in CloudWatch's embedded format, to two files. The CloudWatch agent of Amazon Linux ships those to the link's log group,
and measures memory and disk itself. The agent is told files and not the journal, which it reads only since a version
that not every release of Amazon Linux has.

    Twinspan/Router   TunnelUp, BgpEstablished, PrefixesReceived   {LinkId, Router, Tunnel}
                      BgpEstablished, which an alarm watches       {LinkId, Router}
                      mem_used_percent, disk_used_percent          {LinkId, Router, …}

No key is in any of it: strongSwan writes keys at its highest level of logging only, which is not set. Nothing here may keep
the configuration from taking effect: a router that cannot be watched still routes, and an alarm tells that it is silent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

NAMESPACE = "Twinspan/Router"
WATCH = "/etc/twinspan/watch"
_AGENT = "/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
_LOG, _METRICS = "/var/log/twinspan/router.log", "/var/log/twinspan/metrics.log"


def log_group(link_id: str) -> str:
    """The log group of a link's routers."""
    return f"/twinspan/{link_id}/routers"


def files(link_id: str, router: str, inside_peers: Sequence[str]) -> Mapping[str, str]:
    """The files by absolute path; `inside_peers` are AWS's inside addresses, by the tunnels' order."""
    facts = {"link_id": link_id, "router": router, "peers": list(inside_peers)}
    return {
        "/etc/twinspan/report.json": json.dumps(facts, indent=2) + "\n",
        "/etc/twinspan/report": _REPORT,
        "/etc/twinspan/agent.json": json.dumps(_agent(link_id, router), indent=2) + "\n",
        "/etc/systemd/system/twinspan-router-report.service": _SERVICE,
        "/etc/systemd/system/twinspan-router-report.timer": _TIMER,
        WATCH: _WATCH,
    }


def _agent(link_id: str, router: str) -> Mapping[str, object]:
    """The CloudWatch agent's configuration: two files, and how full memory and disk are."""
    dimensions = {"LinkId": link_id, "Router": router}
    group = log_group(link_id)
    return {
        "agent": {"omit_hostname": True},
        "logs": {
            "logs_collected": {
                "files": {
                    "collect_list": [
                        {"file_path": path, "log_group_name": group, "log_stream_name": stream}
                        for path, stream in ((_LOG, router), (_METRICS, f"{router}-metrics"))
                    ]
                }
            }
        },
        "metrics": {
            "namespace": NAMESPACE,
            "metrics_collected": {
                "mem": {"measurement": ["mem_used_percent"], "append_dimensions": dimensions},
                "disk": {
                    "measurement": ["used_percent"],
                    "resources": ["/"],
                    "drop_device": True,
                    "append_dimensions": dimensions,
                },
            },
        },
    }


_WATCH = f"""\
# Nothing here stops the configuration: a router that cannot be watched still routes.
systemctl daemon-reload || true
systemctl enable --now twinspan-router-report.timer || true
{_AGENT} -a fetch-config -m ec2 -s -c file:/etc/twinspan/agent.json || true
"""

_SERVICE = """\
[Unit]
Description=Twinspan router: what tunnels and daemons did, for the CloudWatch agent to ship
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /etc/twinspan/report
TimeoutStartSec=55
"""

_TIMER = """\
[Unit]
Description=Twinspan router: look at tunnels and journal each minute
[Timer]
OnActiveSec=1
OnUnitActiveSec=60
AccuracySec=1
[Install]
WantedBy=timers.target
"""

_REPORT = '''\
"""Appends what the daemons wrote since the last look, and a line of metrics for each tunnel."""
import json, os, pathlib, subprocess, time

ROOT = pathlib.Path(os.environ.get("TWINSPAN_ROOT", "/"))
FACTS = json.loads((ROOT / "etc/twinspan/report.json").read_text())
LOGS, STATE = ROOT / "var/log/twinspan", ROOT / "var/lib/twinspan"
UNITS = ("strongswan", "frr", "twinspan-router-boot", "twinspan-router-sync", "amazon-cloudwatch-agent")
LARGEST_BYTES = 16 * 1024 * 1024


def told(*command):
    """What a command printed; nothing if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def append(name, text):
    """What is there was shipped long ago once the file is this large."""
    path = LOGS / name
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        path.replace(path.with_name(name + ".1"))
    with path.open("a") as file:
        file.write(text)


def sessions():
    try:
        return json.loads(told("vtysh", "-c", "show bgp ipv4 unicast summary json")).get("peers", {})
    except ValueError:  # no answer, or none that is JSON
        return {}


def measured(number, peer, neighbours):
    up = "INSTALLED" in told("swanctl", "--list-sas", "--ike", f"tunnel-{number}")
    session = neighbours.get(peer, {})
    established = session.get("state") == "Established"
    values = {
        "TunnelUp": int(up),
        "BgpEstablished": int(established),
        "PrefixesReceived": session.get("pfxRcd", 0) if established else 0,
    }
    each = {"by": ["LinkId", "Router", "Tunnel"], "names": list(values)}
    together = {"by": ["LinkId", "Router"], "names": ["BgpEstablished"]}
    directives = [
        {
            "Namespace": "Twinspan/Router",
            "Dimensions": [one["by"]],
            "Metrics": [{"Name": name, "Unit": "Count"} for name in one["names"]],
        }
        for one in (each, together)
    ]
    return {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": directives},
        "LinkId": FACTS["link_id"], "Router": FACTS["router"], "Tunnel": str(number), **values,
    }


for folder in (LOGS, STATE):
    folder.mkdir(parents=True, exist_ok=True)
neighbours = sessions()
lines = [measured(number, peer, neighbours) for number, peer in enumerate(FACTS["peers"], 1)]
append("metrics.log", "".join(json.dumps(line) + "\\n" for line in lines))
units = [f"--unit={unit}.service" for unit in UNITS]
append("router.log", told(
    "journalctl", "--quiet", "--no-pager", "--output=short-iso", f"--cursor-file={STATE / 'journal'}", *units))
'''
