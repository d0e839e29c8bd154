"""What moto would work out again and again, done once, or not at all.

A deployment makes several hundred requests, and a third of the time they took went into listing moto's
own folders, inspecting its classes and reading service models. None of these answers changes while a
process runs, save where a class is added to (`classes_changed`). And each region of each account began with 1,300 machine images and a snapshot of each, of
which nobody here asks for more than one.

Not guaranteed: anything but speed. Without this module everything works the same.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import moto.backends
import moto.core.responses
import moto.core.utils
from moto.backend_index import backend_url_patterns
from moto.core.loaders import create_loader
from moto.ec2.models import amis
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from infra.local.errors import PatchPointMissing

_HOSTS = 4096  # hosts carry a service and a region; buckets are addressed by path
_CLASSES = 1024


def install() -> None:
    """Keep the answers. Safe to call again.

    Raises:
        PatchPointMissing: if moto asks under other names now.
    """
    if hasattr(moto.core.utils, "_twinspan_kept"):
        return
    _keep(moto.backends, "list_of_moto_modules", frozenset(moto.backends.list_of_moto_modules()))
    loader = create_loader()
    _keep(moto.core.utils, "create_loader", loader)
    _remember_hosts()
    _remember(moto.core.responses, "method_names_from_class", _CLASSES)
    _load_few_images()
    setattr(moto.core.utils, "_twinspan_kept", True)  # noqa: B010 - moto's module, not ours


def classes_changed() -> None:
    """Forget what moto's classes were: members were added to some."""
    listed = vars(moto.core.responses)["method_names_from_class"]
    if forget := getattr(listed, "cache_clear", None):
        forget()


def _remember_hosts() -> None:
    """Which service a host belongs to, kept for all servers of the process: they have the same services."""
    name = "get_backend_for_host"
    original = getattr(DomainDispatcherApplication, name, None)
    if original is None:
        raise PatchPointMissing(f"DomainDispatcherApplication.{name}")
    any_server = SimpleNamespace(backend_url_patterns=backend_url_patterns)

    @functools.lru_cache(maxsize=_HOSTS)
    def of_host(host: str | None) -> Any:
        return original(any_server, host)

    setattr(DomainDispatcherApplication, name, lambda _server, host: of_host(host))


def _load_few_images() -> None:
    """Begin a region with moto's own sample images, without the long lists of each region's newest ones."""
    name = "load_resource"
    if not callable(getattr(amis, name, None)) or not getattr(amis, "AMIS", None):
        raise PatchPointMissing(f"{amis.__name__}.{name}")
    del amis.AMIS[1:]
    setattr(amis, name, lambda _path: [])


def _keep(owner: Any, name: str, answer: Any) -> None:
    """Make a function give the same answer always."""
    if not callable(getattr(owner, name, None)):
        raise PatchPointMissing(f"{owner.__name__}.{name}")
    setattr(owner, name, lambda: answer)


def _remember(owner: Any, name: str, size: int) -> None:
    """Make a function remember its answers by its arguments."""
    if not callable(getattr(owner, name, None)):
        raise PatchPointMissing(f"{owner.__name__}.{name}")
    setattr(owner, name, functools.lru_cache(maxsize=size)(getattr(owner, name)))
