"""What is published, beside what is known of it from elsewhere: the journal, and the claimed generations.

The parameter that proxies follow can be deleted or overwritten by others. What was published last, and under
which number, is therefore never taken from it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.journal import Entry, EntryKind
from control_plane.domain.policy import Policy, Resend
from control_plane.domain.signals import Intent, IntentKind
from control_plane.domain.situation import ProxyRules, Published
from control_plane.domain.topology import Topology
from control_plane.errors import InvalidPublishedConfig, StaleGeneration, UnknownGeneration
from control_plane.operations.run import Run
from control_plane.wiring import Control
from proxy.routing_config import RoutingConfig

# The deployment publishes this one, before there is a journal or a claim.
FIRST_GENERATION = 1


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication as the journal tells of it; `digest` is missing from old entries."""

    generation: int
    active_path: str
    execution: str
    digest: str | None

    def is_what(self, config: RoutingConfig) -> bool:
        """Whether this config is the one that was published then."""
        if self.digest is not None:
            return self.digest == digest_of(config)
        told = (self.generation, self.active_path, self.execution)
        return told == (config.generation, config.active_path, config.published_by)


def digest_of(config: RoutingConfig) -> str:
    """SHA-256 of the document as it is published."""
    return hashlib.sha256(config.to_json().encode()).hexdigest()


def last_publication(control: Control, link_id: str) -> Publication | None:
    """The newest publication of this link's runs; None before the first."""
    return next((_publication(entry) for entry in _publications(control, link_id)), None)


def readable_config(control: Control, link_id: str) -> RoutingConfig | None:
    """What is published, if it is a routing config; None where nothing is, or something else."""
    try:
        return control.documents.routing_config(link_id)
    except InvalidPublishedConfig:
        return None


def config_for(control: Control, run: Run) -> RoutingConfig | None:
    """What is published, for this run to look at; None where nothing is.

    Raises:
        InvalidPublishedConfig: what is there is none, and the run was not asked to put that right.
    """
    if run.intent is not None and run.intent.intent is IntentKind.RESTORE:
        return readable_config(control, run.link_id)
    return control.documents.routing_config(run.link_id)


def in_essence(config: RoutingConfig | None) -> Published | None:
    """What a decision needs to know of the published config."""
    if config is None:
        return None
    return Published(
        active_path=config.active_path,
        generation=config.generation,
        excluded=frozenset(path.name for path in config.paths if path.state == "excluded"),
        rules=ProxyRules(
            data_classes=frozenset(
                (name, frozenset(methods)) for name, methods in config.data_classes.items()
            ),
            allowed_models=frozenset(config.allowed_models),
            resend=Resend(config.resend),
        ),
    )


def is_intact(control: Control, config: RoutingConfig | None, link_id: str) -> bool:
    """Whether what is published is what a run of this link published last, or is the deployment's own."""
    if config is None:
        return False
    last = last_publication(control, link_id)
    if last is None:
        return config.generation >= control.generations.highest(link_id)
    return last.is_what(config)


def path_to_put_back(
    control: Control, intent: Intent | None, topology: Topology, policy: Policy, missing: bool
) -> str | None:
    """The path that a rollback, a restore, or a link without a published config returns to.

    Raises:
        UnknownGeneration: the generation asked for was never published.
    """
    wanted = intent.intent if intent is not None else None
    if wanted not in (IntentKind.ROLLBACK, IntentKind.RESTORE) and not missing:
        return None
    if intent is not None and intent.to_generation is not None:
        return _path_at(control, topology.link_id, intent.to_generation)
    last = last_publication(control, topology.link_id)
    # Before the first publication of a run there was the deployment's, with the preferred path.
    return last.active_path if last is not None else policy.order(topology)[0]


def routing_config(
    topology: Topology,
    policy: Policy,
    active_path: str,
    generation: int,
    published_by: str,
    reason: str,
    now: datetime,
) -> RoutingConfig:
    """The document to publish; quarantined paths and paths that no data class may use are excluded."""
    paths = []
    for path in topology.paths:
        excluded: str | None = None
        if quarantine := policy.quarantined(path.name, now):
            excluded = f"quarantined: {quarantine.reason}"
        elif not policy.permits(path.routing_method):
            excluded = f"the policy lets no data class use {path.routing_method}"
        if path.name == active_path:
            excluded = None
        paths.append(
            {
                "name": path.name,
                "routing_method": path.routing_method.value,
                "endpoint_url": path.endpoint_url,
                "peer_networks": path.peer_networks,
                "state": "excluded" if excluded else "enabled",
                "excluded_reason": excluded,
            }
        )
    return RoutingConfig.of(
        {
            "schema_version": 1,
            "link_id": topology.link_id,
            "generation": generation,
            "active_path": active_path,
            "paths": paths,
            "data_classes": {
                name: [method.value for method in methods]
                for name, methods in policy.data_classes.items()
            },
            "published_at": now,
            "published_by": published_by,
            "reason": reason,
            "allowed_models": list(policy.published_models),
            "resend": policy.resend.value,
        }
    )


def claim_next(control: Control, link_id: str, published: int) -> int:
    """A generation above everything that was ever published or claimed, now claimed.

    Raises:
        StaleGeneration: another run claimed it at the same time.
    """
    highest = control.generations.highest(link_id)
    if not highest:
        last = last_publication(control, link_id)
        highest = last.generation if last is not None else FIRST_GENERATION
    above = max(highest, published)
    if not control.generations.claim(link_id, above + 1):
        raise StaleGeneration(link_id, above, control.generations.highest(link_id))
    return above + 1


def _path_at(control: Control, link_id: str, generation: int) -> str:
    for entry in _publications(control, link_id):
        if entry.data["generation"] == generation:
            return str(entry.data["active_path"])
        # The deployment's own generation is told of only by the publication that replaced it.
        replaced = entry.data.get("replaced")
        if replaced is not None and replaced["generation"] == generation:
            return str(replaced["active_path"])
    raise UnknownGeneration(link_id, generation)


def _publications(control: Control, link_id: str) -> Iterator[Entry]:
    return control.journal.of_kind(link_id, EntryKind.PUBLISHED)


def _publication(entry: Entry) -> Publication:
    return Publication(
        generation=int(entry.data["generation"]),
        active_path=str(entry.data["active_path"]),
        execution=entry.execution,
        digest=entry.data.get("sha256"),
    )
