"""Live probes: signed, inference-shaped calls over one path, on a fresh connection each.

A probe proves the path, not the model: it is answered when the service answers, with `x-amzn-requestid` and
anything below 500, even if the answer is a refusal. The socket's peer must lie in the path's networks,
or the answer came over something else. Without a model in the policy, the call names a model that does
not exist: Bedrock refuses it after authentication, at no cost.
"""

from __future__ import annotations

import http.client
import json
import ssl
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from control_plane.adapters.secrets import CommercialCredential
from control_plane.domain.observation import ProbeResult
from control_plane.domain.policy import ProbePolicy
from control_plane.domain.topology import Path
from proxy.routing_config import VERIFICATION_MODEL


class PathUnanswered(Exception):
    """One probe call was not answered as a live path would; says how."""


class Prober:
    """Makes probes with one credential."""

    def __init__(self, credential: CommercialCredential) -> None:
        self._region = credential.region
        self._credentials = Credentials(
            credential.aws_access_key_id, credential.aws_secret_access_key.get_secret_value()
        )

    def probe_all(self, paths: Iterable[Path], policy: ProbePolicy) -> dict[str, ProbeResult]:
        """Probe several paths at the same time."""
        chosen = list(paths)
        with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
            results = pool.map(lambda path: self.probe(path, policy), chosen)
            return {result.path: result for result in results}

    def probe(self, path: Path, policy: ProbePolicy) -> ProbeResult:
        """Make up to `attempts` calls; stops early once the verdict is certain."""
        latencies_ms: list[float] = []
        failures: list[str] = []
        peer: str | None = None
        for attempt in range(policy.attempts):
            try:
                started = time.perf_counter()
                peer = self._call(path, policy)
                latencies_ms.append((time.perf_counter() - started) * 1000)
            except PathUnanswered as failure:
                failures.append(str(failure))
            left = policy.attempts - attempt - 1
            if len(latencies_ms) >= policy.required or len(latencies_ms) + left < policy.required:
                break
        return ProbeResult(
            path=path.name,
            attempts=len(latencies_ms) + len(failures),
            answered=len(latencies_ms),
            required=policy.required,
            median_latency_ms=round(statistics.median(latencies_ms), 1) if latencies_ms else None,
            peer=peer,
            failures=tuple(failures),
        )

    def _call(self, path: Path, policy: ProbePolicy) -> str:
        """One call; returns the peer's address."""
        parts = urlsplit(path.endpoint_url)
        assert parts.hostname is not None, "the topology validated the URL"
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname, parts.port, timeout=policy.timeout_seconds)
        try:
            connection.connect()
            peer = str(connection.sock.getpeername()[0])
            if not any(ip_address(peer) in ip_network(net) for net in path.peer_networks):
                raise PathUnanswered(f"reached {peer}, which is not on this path")
            target = (
                f"/model/{(policy.model_id or VERIFICATION_MODEL).replace(':', '%3A')}/converse"
            )
            request = self._signed(path.endpoint_url + target)
            connection.request("POST", target, request.body, dict(request.headers.items()))
            answer = connection.getresponse()
            answer.read()
        except TimeoutError:
            raise PathUnanswered(f"no answer within {policy.timeout_seconds:g} s") from None
        except ssl.SSLError as error:
            raise PathUnanswered(f"TLS: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise PathUnanswered(getattr(error, "strerror", None) or type(error).__name__) from None
        finally:
            connection.close()
        if answer.status >= 500 or answer.getheader("x-amzn-requestid") is None:
            raise PathUnanswered(f"answered {answer.status}, not as the service would")
        return peer

    def _signed(self, url: str) -> AWSRequest:
        body = {
            "messages": [{"role": "user", "content": [{"text": "ping"}]}],
            "inferenceConfig": {"maxTokens": 1},
        }
        headers = {"Content-Type": "application/json"}
        request = AWSRequest("POST", url, data=json.dumps(body).encode(), headers=headers)
        SigV4Auth(self._credentials, "bedrock", self._region).add_auth(request)
        return request
