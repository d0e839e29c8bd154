"""What an edge router does with its configuration: the template's own script, run in a folder instead of a machine.

Commands are stand-ins that write down that they were called; the metadata service and Secrets Manager answer from here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.permissions import of_documents, of_role
from infra.rendering import render as render_templates
from infra.router_config import RouterConfiguration, parse_gateway_configuration, render
from tests.infrastructure.test_templates_router_config import ROUTER, document

AWS = """\
#!/bin/sh
[ -f "$ANSWER" ] || { echo 'Could not connect to the endpoint' >&2; exit 255; }
cat "$ANSWER"
"""
TOLD = """\
#!/bin/sh
echo "$(basename "$0") $*" >> "$TOLD"
[ "$(basename "$0") $*" != "$FAILING" ] || exit 1
"""


def user_data() -> str:
    """What the launch template gives every router at its first boot."""
    resources = render_templates("commercial")
    data = resources["RouterLaunchTemplate"].properties["LaunchTemplateData"]["UserData"]
    return base64.b64decode(data).decode()


def documents() -> dict[str, str]:
    """The files that the first boot writes, by path."""
    found = re.findall(r"cat > (\S+) <<'(\w+)'\n(.*?)^\2$", user_data(), re.M | re.S)
    return {path: text for path, _, text in found}


@dataclass
class Machine:
    """A router's file system and surroundings."""

    root: Path
    metadata_url: str
    failing: str = ""

    def configure(self, configuration: RouterConfiguration, version: str) -> None:
        """Put a version into the secret."""
        answer = {"VersionId": version, "SecretString": configuration.to_json()}
        (self.root / "answer.json").write_text(json.dumps(answer))

    def cut_off(self) -> None:
        """Secrets Manager is not reached any more."""
        (self.root / "answer.json").unlink()

    def answer(self, command: str, said: str) -> None:
        """What a command prints from now on."""
        file = self.root / "bin" / command
        file.write_text(
            f"#!/bin/sh\necho \"$*\" >> '{self.root}/asked'\ncat <<'SAID'\n{said}\nSAID\n"
        )
        file.chmod(0o755)

    def report(self) -> None:
        """The timer's minute is over."""
        environment = {
            "PATH": f"{self.root / 'bin'}:{os.defpath}",
            "TWINSPAN_ROOT": str(self.root),
        }
        script = str(self.root / "etc/twinspan/report")
        subprocess.run([sys.executable, script], env=environment, timeout=60, check=True)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines that the agent ships as metrics."""
        return [
            json.loads(line) for line in self.text("/var/log/twinspan/metrics.log").splitlines()
        ]

    def reboot(self) -> None:
        """What is in memory is lost; then the early service runs."""
        for file in (self.root / "run/twinspan").iterdir():
            file.unlink()
        self.forget()
        assert self.run("boot").returncode == 0

    def run(self, verb: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.root / 'bin'}:{os.defpath}",
            "TWINSPAN_ROOT": str(self.root),
            "TWINSPAN_METADATA": self.metadata_url,
            "ANSWER": str(self.root / "answer.json"),
            "TOLD": str(self.root / "told"),
            "FAILING": self.failing,
        }
        script = str(self.root / "twinspan-router")
        return subprocess.run(
            [sys.executable, script, verb],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def told(self) -> list[str]:
        """Commands that were run since the last look."""
        file = self.root / "told"
        said = file.read_text().splitlines() if file.exists() else []
        self.forget()
        return said

    def forget(self) -> None:
        (self.root / "told").unlink(missing_ok=True)

    def text(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()


class _Metadata(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self._answer("a-token")

    def do_GET(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token"] == "a-token"
        assert self.path.endswith("/meta-data/tags/instance/twinspan:configuration")
        self._answer("twinspan/bedrock/router-a")

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def metadata_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metadata) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/latest/"
        server.shutdown()
        thread.join()


@pytest.fixture
def machine(tmp_path: Path, metadata_url: str) -> Machine:
    (tmp_path / "bin").mkdir()
    for name in ("nft", "sh", "sysctl", "systemctl", "swanctl"):
        (tmp_path / "bin" / name).write_text(TOLD)
    (tmp_path / "bin/aws").write_text(AWS)
    for file in (tmp_path / "bin").iterdir():
        file.chmod(0o755)
    (tmp_path / "twinspan-router").write_text(documents()["/usr/local/sbin/twinspan-router"])
    return Machine(tmp_path, metadata_url)


FIRST, SECOND = (
    render(ROUTER, parse_gateway_configuration(document(*numbers))) for numbers in ((1, 2), (3, 4))
)


def commands(configuration: RouterConfiguration) -> list[str]:
    return [" ".join(command) for command in configuration.commands]


def test_the_first_boot_is_a_shell_script_that_writes_what_it_says() -> None:
    """bash parses it, Python compiles the script in it, and EC2's limit for user data holds."""
    text = user_data()
    assert len(text.encode()) <= 16384
    checked = subprocess.run(
        ["bash", "-n"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    found = documents()
    compile(found["/usr/local/sbin/twinspan-router"], "twinspan-router", "exec")
    assert set(found) == {
        "/usr/local/sbin/twinspan-router",
        "/etc/systemd/system/twinspan-router-boot.service",
        "/etc/systemd/system/twinspan-router-sync.service",
        "/etc/systemd/system/twinspan-router-sync.timer",
    }


def test_the_filter_stands_before_the_network_and_both_daemons() -> None:
    """At every boot: no packet is forwarded unfiltered, and no daemon starts on interfaces that are not there."""
    unit = documents()["/etc/systemd/system/twinspan-router-boot.service"]
    before = re.search(r"^Before=(.*)$", unit, re.M)
    assert before is not None
    assert {"network-pre.target", "strongswan.service", "frr.service"} <= set(before[1].split())
    assert FIRST.commands[0] == ("nft", "--file", "/etc/nftables/twinspan.nft")
    assert not any(path.startswith("/etc/sysctl.d/") for path in FIRST.files), (
        "the system would load it before the filter is there"
    )


def test_a_configuration_is_put_into_effect_once(machine: Machine) -> None:
    """Files are written as they are, readable by root alone, commands run in order; a second look changes nothing."""
    machine.configure(FIRST, "v1")
    assert machine.run("sync").returncode == 0
    assert machine.told() == commands(FIRST)
    for path, text in FIRST.files.items():
        assert machine.text(path) == text
        assert stat.S_IMODE((machine.root / path.lstrip("/")).stat().st_mode) == 0o600
    assert not list(machine.root.rglob("*.part"))
    assert machine.run("sync").returncode == 0
    assert machine.told() == []


def test_a_file_that_a_package_brought_keeps_its_mode(machine: Machine) -> None:
    """FRR's files stay readable to FRR's own group, and no file becomes readable to everybody."""
    there = machine.root / "etc/frr/frr.conf"
    there.parent.mkdir(parents=True)
    there.write_text("! as installed\n")
    there.chmod(0o644)
    machine.configure(FIRST, "v1")
    assert machine.run("sync").returncode == 0
    assert stat.S_IMODE(there.stat().st_mode) == 0o640
    assert machine.text("/etc/frr/frr.conf") == FIRST.files["/etc/frr/frr.conf"]


def test_a_new_version_is_taken_up(machine: Machine) -> None:
    """A replaced tunnel or a new key arrives with the next look."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    machine.told()
    machine.configure(SECOND, "v2")
    assert machine.run("sync").returncode == 0
    assert machine.told() == commands(SECOND)
    assert machine.text("/etc/frr/frr.conf") == SECOND.files["/etc/frr/frr.conf"]


def test_a_reboot_puts_back_what_the_kernel_has_lost(machine: Machine) -> None:
    """The filter and the interfaces early, from this machine's own memory; the rest with the first look, once."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    machine.reboot()
    assert machine.told() == commands(FIRST)[: FIRST.at_boot]
    assert machine.run("sync").returncode == 0
    assert machine.told() == commands(FIRST)


def test_a_reboot_without_secrets_manager_comes_up_as_it_was(machine: Machine) -> None:
    """The tunnels outlive the control plane: what was there last is put into effect, once, and the failure is told."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    machine.reboot()
    machine.told()
    machine.cut_off()
    done = machine.run("sync")
    assert done.returncode != 0
    assert "Could not connect" in done.stderr
    assert machine.told() == commands(FIRST)
    assert machine.run("sync").returncode != 0
    assert machine.told() == []


def test_a_router_without_a_configuration_waits(machine: Machine) -> None:
    """Before the deployment has stored one there is nothing to do at boot, and nothing is changed."""
    assert machine.run("boot").returncode == 0
    assert machine.run("sync").returncode != 0
    assert machine.told() == []
    assert not (machine.root / "etc").exists()


def test_a_configuration_that_fails_is_taken_back(machine: Machine) -> None:
    """The one before is put into effect again, and the bad one is left alone for a quarter of an hour."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    machine.told()
    machine.configure(SECOND, "v2")
    machine.failing = "swanctl --load-all"
    assert machine.run("sync").returncode != 0
    machine.failing = ""
    machine.told()
    assert machine.run("sync").returncode == 0
    assert machine.told() == []
    refused = machine.root / "run/twinspan/refused"
    os.utime(refused, (time.time() - 901,) * 2)
    assert machine.run("sync").returncode == 0
    assert machine.text("/etc/frr/frr.conf") == SECOND.files["/etc/frr/frr.conf"]


def test_a_first_configuration_that_fails_is_tried_again(machine: Machine) -> None:
    """There is nothing to go back to, so each look tries."""
    machine.configure(FIRST, "v1")
    machine.failing = "swanctl --load-all"
    assert machine.run("sync").returncode != 0
    machine.failing = ""
    machine.told()
    assert machine.run("sync").returncode == 0
    assert machine.told() == commands(FIRST)


@pytest.mark.parametrize(
    "secret",
    [
        "no JSON",
        "{}",
        json.dumps({"files": {"/root/.ssh/authorized_keys": "x"}, "boot": [["x"]], "commands": [["x"]]}),
        json.dumps({"files": {"/etc/../root/x": "x"}, "boot": [["x"]], "commands": [["x"]]}),
        json.dumps({"files": {}, "boot": [["nft"]], "commands": [["systemctl"]]}),
    ],
)  # fmt: skip
def test_a_secret_that_is_no_configuration_changes_nothing(machine: Machine, secret: str) -> None:
    """Whatever is in it: the router goes on with what it has."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    machine.told()
    answer = {"VersionId": "v2", "SecretString": secret}
    (machine.root / "answer.json").write_text(json.dumps(answer))
    assert machine.run("sync").returncode != 0
    assert machine.told() == []
    assert machine.text("/etc/frr/frr.conf") == FIRST.files["/etc/frr/frr.conf"]
    assert not (machine.root / "root").exists()


SAS = "tunnel-1: #1, ESTABLISHED, IKEv2\n  tunnel-1: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_GCM_16-256"


def test_a_router_tells_each_minute_what_tunnels_and_sessions_do(machine: Machine) -> None:
    """A tunnel counts as up once it carries, a session once it is established; by router and by tunnel."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    machine.answer("swanctl", SAS)
    peers = {
        "169.254.1.1": {"state": "Established", "pfxRcd": 1},
        "169.254.2.1": {"state": "Active", "pfxRcd": 0},
    }
    machine.answer("vtysh", json.dumps({"as": 65001, "peers": peers}))
    machine.answer("journalctl", "2026-03-01T00:00:00+0000 router charon-systemd[1]: a line")
    machine.report()
    machine.report()
    first, second, *again = machine.metrics()
    assert len(again) == 2
    for line, number in ((first, "1"), (second, "2")):
        assert line["LinkId"] == ROUTER.link_id
        assert (line["Router"], line["Tunnel"]) == (ROUTER.name, number)
    names = ("TunnelUp", "BgpEstablished", "PrefixesReceived")
    assert [first[name] for name in names] == [1, 1, 1]
    assert [second[name] for name in names] == [1, 0, 0]
    assert machine.text("/var/log/twinspan/router.log").count("a line") == 2
    (asked, *_) = [a for a in machine.text("/asked").splitlines() if "--cursor-file" in a]
    assert "--unit=strongswan.service --unit=frr.service" in asked


def test_a_router_whose_daemons_are_gone_says_so(machine: Machine) -> None:
    """Nothing answers: the tunnels are down, and the report is written all the same."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    for command in ("swanctl", "vtysh", "journalctl"):
        machine.answer(command, "")
        (machine.root / "bin" / command).write_text("#!/bin/sh\nexit 1\n")
    machine.report()
    assert [(line["TunnelUp"], line["BgpEstablished"]) for line in machine.metrics()] == [
        (0, 0)
    ] * 2


def test_what_was_shipped_long_ago_does_not_fill_the_disk(machine: Machine) -> None:
    """A file of sixteen megabytes is put aside, and the one before it goes."""
    machine.configure(FIRST, "v1")
    machine.run("sync")
    for command in ("swanctl", "vtysh", "journalctl"):
        machine.answer(command, "")
    logs = machine.root / "var/log/twinspan"
    logs.mkdir(parents=True)
    (logs / "router.log").write_bytes(b"x" * (16 * 1024 * 1024 + 1))
    machine.report()
    assert (logs / "router.log").stat().st_size < 100
    assert (logs / "router.log.1").stat().st_size > 16 * 1024 * 1024


def test_a_router_that_cannot_be_watched_still_routes() -> None:
    """Watching begins after everything else, and no step of it fails the configuration."""
    assert FIRST.commands[-1] == ("sh", "/etc/twinspan/watch")
    lines = FIRST.files["/etc/twinspan/watch"].splitlines()
    assert all(line.endswith("|| true") for line in lines if not line.startswith("#"))


def test_the_agent_ships_what_is_written_to_where_the_role_may() -> None:
    """The files of the report, the link's log group, the namespace of the alarms: one name each on both sides."""
    agent = json.loads(FIRST.files["/etc/twinspan/agent.json"])
    resources = render_templates("commercial")
    files = agent["logs"]["logs_collected"]["files"]["collect_list"]
    assert [file["file_path"].rpartition("/")[2] for file in files] == ["router.log", "metrics.log"]
    (group,) = {file["log_group_name"] for file in files}
    assert group == resources["RouterLogGroup"].properties["LogGroupName"]
    assert agent["metrics"]["namespace"] == "Twinspan/Router"
    for zone in "AB":
        alarm = resources[f"Router{zone}SessionsAlarm"].properties
        assert alarm["Namespace"] == agent["metrics"]["namespace"]
        name = resources[f"Router{zone}"].properties["Tags"][0]["Value"]
        assert {"Name": "Router", "Value": name} in alarm["Dimensions"]
        given = of_role(resources, f"RouterRole{zone}")
        arn = f"arn:aws:logs:us-east-1:222222222222:log-group:{group}:*"
        endpoint = of_documents([resources["LogsEndpoint"].properties["PolicyDocument"]])
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            assert given.allow(action, arn)
            assert endpoint.allow(action, arn)
        assert not given.allow("logs:PutLogEvents", arn.replace("routers", "flow"))
        metrics = of_documents([resources["MonitoringEndpoint"].properties["PolicyDocument"]])
        for namespace, allowed in (("Twinspan/Router", True), ("Twinspan", False)):
            context = {
                "cloudwatch:namespace": (namespace,),
                "aws:PrincipalAccount": ("222222222222",),
            }
            assert given.allow("cloudwatch:PutMetricData", "*", context) is allowed
            assert metrics.allow("cloudwatch:PutMetricData", "*", context) is allowed


def test_a_router_reads_its_own_configuration_alone() -> None:
    """The other router's keys are not for it."""
    resources = render_templates("commercial")
    for zone, other in ("ab", "ba"):
        given = of_role(resources, f"RouterRole{zone.upper()}")
        arn = (
            "arn:aws:secretsmanager:us-east-1:222222222222:secret:twinspan/bedrock/router-{}-AbCdEf"
        )
        assert given.allow("secretsmanager:GetSecretValue", arn.format(zone))
        assert not given.allow("secretsmanager:GetSecretValue", arn.format(other))


def test_a_changed_launch_template_replaces_no_router_by_itself() -> None:
    """Both at once would take the link down, and neither could have its interface while the former machine has it."""
    changed = render_templates("commercial", {"RouterImageId": "ami-0fedcba9876543210"})
    before = render_templates("commercial")
    assert changed["RouterLaunchTemplate"] != before["RouterLaunchTemplate"]
    for zone in "AB":
        assert changed[f"Router{zone}"] == before[f"Router{zone}"]
        raised = render_templates("commercial", {f"Router{zone}TemplateVersion": "2"})
        moved = {name for name, item in raised.items() if item != before[name]}
        assert moved == {f"Router{zone}"}
