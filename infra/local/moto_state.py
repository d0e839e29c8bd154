"""moto's state as a whole: every account's part of a service, and the clean slate."""

from __future__ import annotations

from typing import TypeVar

from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.model_instances import reset_model_data

Backend = TypeVar("Backend", bound=BaseBackend)


def every_backend(service: BackendDict[Backend]) -> list[Backend]:
    """The backends of a service in all accounts and regions that were touched so far.

    A copy: other threads may bring new ones meanwhile.
    """
    return [backend for regions in list(service.values()) for backend in list(regions.values())]


def reset() -> None:
    """Forget everything in every service."""
    BackendDict.reset()
    reset_model_data()
