"""What the proxy's benchmarks stand on: a played AWS, and the proxy as a process of its own, pinned to a core.

AWS is one small HTTP server that knows the four calls the proxy makes, so that config, secret, audit and
reports go their real way, over a socket, to something that costs the proxy nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORES = os.sched_getaffinity(0)
"""What this process had before it kept itself to one."""
SECRET = json.dumps(
    {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "stand-in", "region": "us-east-1"}
)


@dataclass
class PlayedAws:
    """Parameter Store, Secrets Manager, DynamoDB and EventBridge, as far as the proxy uses them."""

    document: dict[str, Any]
    rows: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def settle(self, quiet_seconds: float = 0.5) -> None:
        """Wait until no more rows come: what is still written would slow whatever is measured next."""
        rows = -1
        while rows != self.rows:
            rows = self.rows
            time.sleep(quiet_seconds)

    def answer(self, target: str, body: bytes) -> dict[str, Any]:
        """What the operation named in `X-Amz-Target` returns."""
        operation = target.rpartition(".")[2]
        if operation == "BatchWriteItem":  # by far the most calls: counted without being read
            self.rows += body.count(b'"PutRequest"')
            return {"UnprocessedItems": {}}
        asked = json.loads(body)
        if operation == "GetParameter":
            return {"Parameter": {"Name": asked["Name"], "Value": json.dumps(self.document)}}
        if operation == "GetSecretValue":
            return {"SecretString": SECRET}
        if operation == "PutEvents":
            self.reports += [json.loads(entry["Detail"]) for entry in asked["Entries"]]
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in asked["Entries"]]}
        raise ValueError(f"no such operation here: {target}")


@contextlib.contextmanager
def played_aws(document: dict[str, Any]) -> Iterator[PlayedAws]:
    """Serve it on a loopback port for as long as the block lasts."""
    aws = PlayedAws(document)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = (
            64 * 1024
        )  # head and body in one piece, or the second waits for an acknowledgement

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(aws.answer(self.headers["x-amz-target"], asked)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    aws.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield aws
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def routing_document(endpoints: Mapping[str, str]) -> dict[str, Any]:
    """A routing config whose paths are these; `endpoints` is path → URL on a loopback address, active first."""
    return {
        "schema_version": 1,
        "link_id": "bedrock",
        "generation": 1,
        "active_path": next(iter(endpoints)),
        "paths": [
            {
                "name": name,
                "routing_method": "vpn",
                "endpoint_url": url,
                "peer_networks": [f"{url.rpartition('//')[2].partition(':')[0]}/32"],
                "state": "enabled",
            }
            for name, url in endpoints.items()
        ],
        "data_classes": {"default": ["vpn"]},
        "published_at": "2026-01-01T00:00:00Z",
        "published_by": "bench",
        "reason": "bench",
    }


@dataclass
class Running:
    """A process under measurement."""

    process: subprocess.Popen[str]
    port: int

    def cpu_seconds(self) -> float:
        """Processor time of the process and its children, so far."""
        total = 0.0
        for pid in [self.process.pid, *_children(self.process.pid)]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def peak_mib(self) -> float:
        """The largest resident size since the last `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def forget_peak(self) -> None:
        """Start the peak anew from what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@contextlib.contextmanager
def proxy(aws: PlayedAws, core: int | None = None, **environment: str) -> Iterator[Running]:
    """`python -m proxy.server` over the played AWS, with everything on that is on by default."""
    surroundings = {name: v for name, v in os.environ.items() if not name.startswith("TWINSPAN_")}
    surroundings |= {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "stand-in",
        "AWS_DEFAULT_REGION": "us-gov-west-1",
        "TWINSPAN_LINK_ID": "bedrock",
        "TWINSPAN_ALLOWED_HOSTS": "127.0.11.1,127.0.12.1",
        "TWINSPAN_ALLOWED_NETWORKS": "127.0.0.0/8",
        "TWINSPAN_ALLOW_ANONYMOUS": "true",
    } | environment
    command = [sys.executable, "-m", "proxy.server", "--port", "0"]
    with started(command, core, environment=surroundings) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line.startswith("proxy listening on http://127.0.0.1:"):
            raise RuntimeError("the proxy did not start; its reason is on stderr")
        yield Running(process, int(line.rpartition(":")[2]))


@contextlib.contextmanager
def started(
    command: Sequence[str], core: int | None, *, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A child process, kept to one core if the machine has it, ended with the block."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environment) if environment is not None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if core is not None and core in CORES:
            os.sched_setaffinity(process.pid, {core})
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def free_port(address: str) -> int:
    """A port that nobody listens on now."""
    with socket.create_server((address, 0)) as sock:
        return int(sock.getsockname()[1])


def wait_until_listening(address: str, port: int, seconds: float = 10.0) -> None:
    """Until a connection is taken.

    Raises:
        TimeoutError: none was.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise TimeoutError(f"nothing listens on {address}:{port}") from None
            time.sleep(0.02)
        else:
            return
