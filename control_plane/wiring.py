"""Puts the adapters of one function together from its settings.

Entry points call this once per execution environment. What depends on a link's topology (the commercial
side, the prober) is made per use, so that a rotated credential is picked up by the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from control_plane.adapters.alarms import Alarms
from control_plane.adapters.aws import AwsSession
from control_plane.adapters.ec2 import Routes
from control_plane.adapters.events import EventBus
from control_plane.adapters.evidence import EvidenceStore
from control_plane.adapters.first_times import FirstTimes
from control_plane.adapters.generations import Generations
from control_plane.adapters.journal import Journal
from control_plane.adapters.lease import LeaseStore
from control_plane.adapters.link_state import LinkState
from control_plane.adapters.notify import Notifier
from control_plane.adapters.probe import Prober
from control_plane.adapters.proxy import ProxyCaller
from control_plane.adapters.secrets import CommercialCredential, commercial_credential
from control_plane.adapters.ssm import LinkDocuments
from control_plane.domain.topology import SideName, Topology
from control_plane.settings import Settings


@dataclass(frozen=True, slots=True)
class Control:
    """The adapters that operations use."""

    settings: Settings
    session: AwsSession
    documents: LinkDocuments
    leases: LeaseStore
    journal: Journal
    first_times: FirstTimes
    generations: Generations
    state: LinkState
    evidence: EvidenceStore
    notifier: Notifier
    events: EventBus
    proxy: ProxyCaller
    alarms: Alarms

    @classmethod
    def from_settings(cls, settings: Settings) -> Control:
        """Build for the account and region that the function runs in."""
        session = AwsSession()
        table = settings.state_table
        return cls(
            settings=settings,
            session=session,
            documents=LinkDocuments(session),
            leases=LeaseStore(session, table),
            journal=Journal(session, table),
            first_times=FirstTimes(session, table),
            generations=Generations(session, table),
            state=LinkState(session, table),
            evidence=EvidenceStore(session, table, settings.evidence_bucket),
            notifier=Notifier(session, settings.notify_topic_arn),
            events=EventBus(session),
            proxy=ProxyCaller(session, settings.proxy_function),
            alarms=Alarms(session),
        )

    def now(self) -> datetime:
        """The moment, in UTC: the only clock that operations read."""
        return datetime.now(UTC)

    def credential(self, topology: Topology) -> CommercialCredential:
        """The commercial side's credential, as it is now."""
        return commercial_credential(self.session, topology.credentials_secret_id)

    def sessions(
        self, topology: Topology, credential: CommercialCredential
    ) -> Mapping[SideName, AwsSession]:
        """How to reach each side: GovCloud as ourselves, the commercial one with its credential."""
        commercial = AwsSession(
            region=topology.sides[SideName.COMMERCIAL].region,
            access_key_id=credential.aws_access_key_id,
            secret_access_key=credential.aws_secret_access_key.get_secret_value(),
            endpoint_url=self.settings.commercial_endpoint_url,
        )
        return {SideName.GOVCLOUD: self.session, SideName.COMMERCIAL: commercial}

    def routes(self, topology: Topology) -> Routes:
        """The route tables of both sides."""
        return Routes(self.sessions(topology, self.credential(topology)))

    def prober(self, topology: Topology) -> Prober:
        """Probes with the commercial credential."""
        return Prober(self.credential(topology))
