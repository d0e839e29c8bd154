"""Calling AWS: clients made once per execution environment, and failures named in our own words.

Both partitions are reached from one process with different credentials, so a client is always asked of
an `AwsSession`, never of boto3 directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from control_plane.errors import AwsRefused, AwsUnavailable

# The SDK's own retries are few and short: the workflow retries with back-off, where it can be seen.
CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
)

_PASSING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TooManyUpdates",
        "TransactionInProgressException",
        "Unavailable",
    }
)


class AwsSession:
    """Clients of one account and region, each made once."""

    def __init__(
        self,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        self._session = boto3.Session(
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
        )
        self._endpoint_url = endpoint_url
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A boto3 client for this service."""
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service_name=service,  # type: ignore[call-overload]
                config=CONFIG,
                endpoint_url=self._endpoint_url,
            )
        return self._clients[service]


def error_code(error: ClientError) -> str:
    """AWS's code of a failed call."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


@contextmanager
def calling(operation: str) -> Iterator[None]:
    """Name the failures of the AWS call inside: `AwsUnavailable` when it may pass, else `AwsRefused`.

    The message of AWS's answer is kept for refusals only; it names resources, never data.
    """
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        if code in _PASSING or status >= 500:
            raise AwsUnavailable(operation, code) from error
        raise AwsRefused(operation, code, error.response["Error"].get("Message", "")) from error
    except (BotoConnectionError, HTTPClientError) as error:
        raise AwsUnavailable(operation, type(error).__name__) from error
