"""What the proxy itself refuses, and how each way of failing reads to a Bedrock SDK."""

from __future__ import annotations

from typing import NoReturn

from proxy.carrier import (
    AnswerBroke,
    CannotCarry,
    ModelNotPermitted,
    NoAllowedPath,
    NoCredential,
    NoRoutingConfig,
    NotResent,
    WiderThanGranted,
)
from proxy.errors import BrokenAnswer
from proxy.messages import Refused

DATA_CLASS_HEADER = "x-twinspan-data-class"
RETRY_AFTER_SECONDS = 2


def too_large(limit_bytes: int) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, "ValidationException", f"body: is larger than {limit_bytes} bytes")


def answer_too_large() -> Refused:
    """The refusal to gather an answer that is longer than what can be kept or returned."""
    message = "The answer is larger than can be returned in this way."
    return Refused(502, "InternalServerException", message, kind="AnswerTooLarge")


def invalid(field: str, reason: str) -> Refused:
    """The refusal of a field, a header or a body that has not the form it must have."""
    return Refused(400, "ValidationException", f"{field}: {reason}")


def unknown_route() -> Refused:
    """The refusal of a path that leads nowhere."""
    return Refused(404, "UnknownOperationException", "There is no such operation here.")


def wrong_method(allow: str) -> NoReturn:
    """Refuse a method, and say which are allowed.

    Raises:
        Refused: 405.
    """
    message = "This operation has another method."
    headers = [(b"allow", allow.encode())]
    raise Refused(405, "UnknownOperationException", message, headers=headers)


def cannot(error: CannotCarry | BrokenAnswer) -> Refused:
    """How each way of failing reads to a Bedrock SDK."""
    retry = [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
    unavailable = "ServiceUnavailableException"
    if isinstance(error, NoAllowedPath):
        paths = [{"name": name, "reason": reason} for name, reason in error.paths]
        message = "No path that this data class may use brought an answer."
        return Refused(503, unavailable, message, kind="NoAllowedPath", headers=retry, paths=paths)
    if isinstance(error, NoRoutingConfig):
        message = "No routing config has been loaded yet."
        return Refused(503, unavailable, message, kind="NoRoutingConfig", headers=retry)
    if isinstance(error, NoCredential):
        message = "The credential for the commercial partition is not available."
        return Refused(503, unavailable, message, kind="NoCredential", headers=retry)
    if isinstance(error, ModelNotPermitted):
        message = "modelId: is not on the allow-list of this link's policy"
        return Refused(403, "AccessDeniedException", message)
    if isinstance(error, WiderThanGranted):
        message = f"{DATA_CLASS_HEADER}: may use paths that the caller's API key may not"
        return Refused(403, "AccessDeniedException", message)
    if isinstance(error, NotResent):
        message = "The path died before an answer, and the request may not be sent again."
        return Refused(
            502,
            "InternalServerException",
            message,
            kind="NotResent",
            reason=error.reason,
            path=error.path,
        )
    if isinstance(error, AnswerBroke | BrokenAnswer):
        message = "The upstream's answer broke off; the request was not sent again."
        return Refused(
            502, "InternalServerException", message, kind="AnswerBroke", reason=error.reason
        )
    message = "No answer came within the time for this request."
    return Refused(504, "ModelTimeoutException", message, kind="OutOfTime")
