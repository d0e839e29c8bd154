"""What the proxy adds to a call, beside nginx doing nothing but pass it on, in the same run.

    python -m bench.proxy_speed [--quick]

The proxy runs with routing, breaker, peer attestation, signing, audit and metrics on, one worker alone on
one core; nginx as a bare reverse proxy, one worker, likewise; the load generator (wrk) and the upstream (an
nginx that answers from memory) share the other. Passes are interleaved and medians reported. It needs
nginx and wrk, as Debian packages them. Ratios count; times depend on the machine and its other load.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.proxy_surroundings import (
    ROOT,
    Running,
    free_port,
    played_aws,
    proxy,
    routing_document,
    started,
    wait_until_listening,
)

PROXY_CORE, LOAD_CORE = 0, 1
UPSTREAM = "127.0.11.1"
CALL = "/model/stand-in.model-v1%3A0/converse"
SHORT_STREAM = "/model/short/converse-stream"
LONG_STREAM = "/model/long/converse-stream"
LONG_STREAM_BYTES = 20 * 1024 * 1024
BODY = '{"messages":[{"role":"user","content":[{"text":"ping"}]}]}'
ANSWER = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "pong"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
        "metrics": {"latencyMs": 1},
    },
    separators=(",", ":"),
)
WRK_SCRIPT = f"""
wrk.method = "POST"
wrk.body = '{BODY}'
wrk.headers["content-type"] = "application/json"
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read
  io.write(string.format("RESULT %d %d %d %d %d\\n",
    latency:percentile(50), latency:percentile(99), summary.requests, summary.duration, bad))
end
"""


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the load generator. Times in milliseconds, rate in requests a second."""

    p50_ms: float
    p99_ms: float
    rate: float
    cpu_us: float


def load(port: int, connections: int, seconds: float, script: Path, under: Running | None) -> Pass:
    """Drive `CALL` on a loopback port; every answer must be a success."""
    host = "127.0.0.1" if under is not None else UPSTREAM
    before = under.cpu_seconds() if under else 0.0
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script)]
    output = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *command, f"http://{host}:{port}{CALL}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk did not say what it measured: {output!r}")
    p50, p99, requests, duration_us, bad = map(int, found.groups())
    if bad:
        raise RuntimeError(f"{bad} of {requests} requests failed: a rate of errors is no speed")
    cpu = (under.cpu_seconds() - before) if under else 0.0
    return Pass(p50 / 1000, p99 / 1000, requests / duration_us * 1e6, cpu / requests * 1e6)


def certificate(folder: Path) -> Path:
    """A self-signed certificate for the upstream's address, its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, UPSTREAM)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(UPSTREAM))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "upstream.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


@contextlib.contextmanager
def nginx(
    folder: Path, name: str, core: int, http: str, port: int, address: str
) -> Iterator[Running]:
    """An nginx of one worker with this `http` block."""
    home = folder / name
    home.mkdir()
    # nginx's worker drops root for its own user, which must be able to read what it serves.
    user = "user root;" if os.getuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {home}/pid; error_log /dev/null;"
        f"events {{ worker_connections 1024; }} http {{ access_log off; {temporary} {http} }}"
    )
    with started(["nginx", "-p", str(home), "-c", str(home / "nginx.conf")], core) as process:
        wait_until_listening(address, port)
        yield Running(process, port)


def upstream_block(port: int, files: Path, tls: Path | None) -> str:
    """The upstream: a JSON answer from memory, two event streams from files."""
    secure = (
        f"ssl_certificate {tls}; ssl_certificate_key {tls}; ssl_session_cache shared:s:1m;"
        if tls
        else ""
    )
    stream = "default_type application/vnd.amazon.eventstream; error_page 405 =200 $uri;"
    return (
        f"server {{ listen {UPSTREAM}:{port} {'ssl' if tls else ''}; {secure}"
        "keepalive_requests 100000000; client_max_body_size 32m; default_type application/json; root "
        + str(files)
        + ";"
        f"location ~ /converse$ {{ add_header x-amzn-RequestId up-1; return 200 '{ANSWER}'; }}"
        f"location ~ /converse-stream$ {{ {stream} }}"
        "location / { return 404; } }"
    )


def floor_block(port: int, upstream_port: int, tls: Path | None) -> str:
    """nginx as the floor: pass on, keep connections, verify the certificate as the proxy does."""
    scheme = "https" if tls else "http"
    secure = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {tls};" if tls else ""
    return (
        f"upstream up {{ server {UPSTREAM}:{upstream_port}; keepalive 128;"
        " keepalive_requests 100000000; }"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; location / {{"
        f" proxy_pass {scheme}://up; proxy_http_version 1.1; proxy_set_header Connection '';"
        f" proxy_set_header Host {UPSTREAM}; proxy_ssl_name {UPSTREAM}; proxy_buffering off;"
        f" {secure} }} }}"
    )


def event_stream(total_bytes: int) -> bytes:
    """Whole frames of 4 KiB each."""
    from proxy.event_stream import exception_frame

    frame = exception_frame("x", "x" * 3900)
    (length,) = struct.unpack_from(">I", frame)
    return frame * max(1, total_bytes // length)


def first_byte_ms(host: str, port: int, path: str, rounds: int) -> float:
    """Median time from the request to the first byte of the answer's body, on one kept connection."""
    request = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(BODY)}\r\n\r\n{BODY}"
    ).encode()
    taken = []
    with socket.create_connection((host, port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            began = time.perf_counter()
            sock.sendall(request)
            data = b""
            while len(parts := data.split(b"\r\n\r\n", 1)) < 2 or not parts[1]:
                data += _more(sock)
            taken.append(time.perf_counter() - began)
            head, body = parts
            chunked = b"transfer-encoding: chunked" in head.lower()
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            while not (
                body.endswith(b"0\r\n\r\n") if chunked else length and len(body) >= int(length[1])
            ):
                body += _more(sock)
    return statistics.median(taken) * 1000


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server closed in the middle of an answer")
    return data


def read_stream(port: int, pause_seconds: float = 0.0) -> int:
    """Read the long stream to its end; how many bytes came, headers included."""
    request = f"POST {LONG_STREAM} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    total = 0
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(request.encode())
        time.sleep(pause_seconds)
        while data := sock.recv(1 << 20):
            total += len(data)
    return total


def send_body(port: int, size: int) -> int:
    """Send a JSON body of this size; the status."""
    body = b'{"x":"' + b"x" * (size - 8) + b'"}'
    head = f"POST {CALL} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(head.encode() + body)
        answer = sock.recv(65536)
    return int(answer.split(b" ", 2)[1])


def measure(scheme: str, rounds: int, seconds: float, folder: Path) -> None:
    """One table: the proxy beside nginx over an http or https upstream."""
    folder = folder / scheme
    files = folder / "files"
    for path, size in ((SHORT_STREAM, 4096), (LONG_STREAM, LONG_STREAM_BYTES)):
        file = files / path.strip("/")
        file.parent.mkdir(parents=True)
        file.write_bytes(event_stream(size))
    script = folder / "post.lua"
    script.write_text(WRK_SCRIPT)
    tls = certificate(folder) if scheme == "https" else None
    upstream_port, floor_port = free_port(UPSTREAM), free_port("127.0.0.1")
    plain_port = free_port(UPSTREAM)
    blocks = upstream_block(upstream_port, files, tls)
    if tls:
        blocks += upstream_block(plain_port, files, None)
    else:
        plain_port = upstream_port
    endpoint = f"{scheme}://{UPSTREAM}:{upstream_port}"
    environment = {"TWINSPAN_CA_FILE": str(tls)} if tls else {}
    with (
        nginx(folder, "upstream", LOAD_CORE, blocks, upstream_port, UPSTREAM),
        nginx(
            folder, "floor", PROXY_CORE, floor_block(floor_port, upstream_port, tls), floor_port,
            "127.0.0.1",
        ) as floor,
        played_aws(routing_document({"tunnel-1": endpoint})) as aws,
        proxy(aws, PROXY_CORE, **environment) as ours,
    ):  # fmt: skip
        for running in (floor, ours):
            load(running.port, 16, 1.0, script, running)
        single: dict[str, list[Pass]] = {"direct": [], "nginx": [], "proxy": []}
        many: dict[str, list[Pass]] = {"nginx": [], "proxy": []}
        for _ in range(rounds):
            single["direct"].append(load(plain_port, 1, seconds, script, None))
            for name, running in (("nginx", floor), ("proxy", ours)):
                single[name].append(load(running.port, 1, seconds, script, running))
                many[name].append(load(running.port, 64, seconds, script, running))
                aws.settle()
        _print_calls(scheme, single, many)
        print(f"    audit rows written meanwhile: {aws.rows}")
        if not tls:
            _print_streams(upstream_port, floor.port, ours)


def _median(passes: list[Pass], what: str) -> float:
    return statistics.median(getattr(one, what) for one in passes)


def _print_calls(scheme: str, single: dict[str, list[Pass]], many: dict[str, list[Pass]]) -> None:
    print(f"  Calls over an {scheme} upstream: proxy, nginx, ratio")
    for what, aim in (("p50_ms", "at most 2"), ("p99_ms", "at most 3")):
        direct = _median(single["direct"], what)
        ours, floor = (_median(single[name], what) - direct for name in ("proxy", "nginx"))
        print(
            f"    added {what[:3]}, concurrency 1   {ours:8.3f} ms {floor:8.3f} ms"
            f"   {ours / floor:5.2f}  (aim: {aim})"
        )
    ours, floor = (_median(many[name], "rate") for name in ("proxy", "nginx"))
    print(
        f"    requests/s, concurrency 64  {ours:9.0f}   {floor:9.0f}"
        f"      {ours / floor:5.1%}  (aim: 15% at least, better 30%)"
    )
    ours, floor = (_median(many[name], "cpu_us") for name in ("proxy", "nginx"))
    print(
        f"    CPU per request             {ours:8.1f} us {floor:8.1f} us   {ours / floor:5.2f}",
        flush=True,
    )


def _print_streams(upstream_port: int, floor_port: int, ours: Running) -> None:
    hosts = {
        "direct": (UPSTREAM, upstream_port),
        "nginx": ("127.0.0.1", floor_port),
        "proxy": ("127.0.0.1", ours.port),
    }
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(5):
        for name, (host, port) in hosts.items():
            for path in (CALL, SHORT_STREAM):
                taken.setdefault((name, path), []).append(first_byte_ms(host, port, path, 200))
    median = {key: statistics.median(values) for key, values in taken.items()}
    call, stream = (median["proxy", path] - median["direct", path] for path in (CALL, SHORT_STREAM))
    print(
        f"  First byte: added to a call {call:.3f} ms, to a stream {stream:.3f} ms (aim: no more);"
        f" nginx adds {median['nginx', SHORT_STREAM] - median['direct', SHORT_STREAM]:.3f} ms"
    )
    for label, pause in (("read at once", 0.0), ("its reader pausing 2 s", 2.0)):
        ours.forget_peak()
        before = ours.peak_mib()
        total = read_stream(ours.port, pause)
        grown = ours.peak_mib() - before
        print(f"  A stream of {total / 2**20:.0f} MiB, {label}: memory grew by {grown:.1f} MiB")
    ours.forget_peak()
    before = ours.peak_mib()
    status = send_body(ours.port, LONG_STREAM_BYTES)
    print(
        f"  A body of 20 MiB ({status}): memory grew by {ours.peak_mib() - before:.1f} MiB"
        " (signed and perhaps sent again, it is kept whole)",
        flush=True,
    )


COLD = {
    "proxy": (
        "from proxy.lambda_handler import handler;from proxy.aws_json import AwsCalls; AwsCalls()"
    ),
    "boto3": (
        "import boto3; boto3.client('bedrock-runtime', region_name='us-gov-west-1',"
        " aws_access_key_id='x', aws_secret_access_key='x')"
    ),
}


def cold_start(rounds: int) -> None:
    """The Lambda edge's import and clients beside those of a plain boto3 handler, in fresh processes."""
    taken: dict[str, list[float]] = {name: [] for name in COLD}
    environment = os.environ | {"AWS_DEFAULT_REGION": "us-gov-west-1"}
    for turn in range(rounds + 1):
        for name, code in COLD.items():
            timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
            ended = subprocess.run(
                [sys.executable, "-c", timed],
                cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            if turn:  # the first turn writes the compiled files
                taken[name].append(float(ended.stdout))
    ours, theirs = (statistics.median(taken[name]) * 1000 for name in ("proxy", "boto3"))
    print(
        f"  Cold start of the Lambda edge {ours:.0f} ms; boto3 with a bedrock-runtime client"
        f" {theirs:.0f} ms; ratio {ours / theirs:.2f} (aim: at most 1)",
        flush=True,
    )


def main() -> None:
    """Print the table, or why there is none."""
    busy = os.getloadavg()[0]
    print(f"The proxy's cost (load average at the start: {busy:.1f} on {os.cpu_count()} cores)")
    if busy > 1:
        print("  other work shares these cores: of what follows only CPU and memory tell anything")
    missing = [tool for tool in ("nginx", "wrk", "taskset") if shutil.which(tool) is None]
    if missing or not {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        what = ", ".join(missing) or "a second core"
        print(f"  skipped: {what} is not here (Debian packages: nginx-light, wrk)")
    else:
        os.sched_setaffinity(0, {LOAD_CORE})  # AWS is played by this process
        rounds, seconds = (1, 1.0) if "--quick" in sys.argv else (3, 4.0)
        with tempfile.TemporaryDirectory() as folder:
            for scheme in ("http", "https"):
                measure(scheme, rounds, seconds, Path(folder))
    cold_start(3 if "--quick" in sys.argv else 7)


if __name__ == "__main__":
    main()
