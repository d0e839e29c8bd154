"""A link's three documents in Parameter Store: topology, policy, published routing config.

SSM has no compare-and-swap. `publish` is safe because only the holder of the link's lease calls it, under a
generation that was claimed for it (`generations`), and it re-reads what is published just before writing. What
remains is the time between that read and the write, in which a lease can expire and a newer holder publish:
the older generation then lies over the newer one, which both are kept by SSM as versions. A proxy that saw the
newer one never adopts the older; `twinspan restore` puts the newest back under a number above both.
"""

from __future__ import annotations

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.domain.policy import Policy
from control_plane.domain.topology import Topology
from control_plane.errors import InvalidPublishedConfig, StaleGeneration, StalePolicy, UnknownLink
from control_plane.settings import parameter_name
from proxy.routing_config import InvalidRoutingConfig, RoutingConfig


class LinkDocuments:
    """Reads and writes the documents of links in one account and region."""

    def __init__(self, session: AwsSession) -> None:
        self._ssm = session.client("ssm")

    def topology(self, link_id: str) -> Topology:
        """The link's topology.

        Raises:
            UnknownLink: there is none.
            InvalidTopology: it is malformed, or another link's.
        """
        text = self._get(link_id, "topology")
        if text is None:
            raise UnknownLink(link_id)
        return Topology.from_json(text)

    def policy(self, link_id: str, topology: Topology) -> Policy:
        """The link's policy; one that touches nothing when none is stored.

        Raises:
            InvalidPolicy: it is malformed, or names a path that the link does not have.
        """
        text = self._get(link_id, "policy")
        policy = Policy.absent() if text is None else Policy.from_json(text)
        policy.check_against(topology)
        return policy

    def policy_as_stored(self, link_id: str, topology: Topology) -> tuple[Policy, int]:
        """The policy with its parameter's version in SSM, 0 where none is stored.

        Raises:
            InvalidPolicy: as `policy`.
        """
        text, version = self._get_versioned(link_id, "policy")
        policy = Policy.absent() if text is None else Policy.from_json(text)
        policy.check_against(topology)
        return policy, version

    def store_policy(self, link_id: str, text: str, expected_version: int) -> None:
        """Write a policy over the parameter's version `expected_version`.

        Raises:
            StalePolicy: the parameter has another version. SSM cannot write conditionally: a writer in the
                very moment between is noticed afterwards, and named.
        """
        _, found = self._get_versioned(link_id, "policy")
        if found != expected_version:
            raise StalePolicy(link_id, expected_version, found)
        with calling("ssm:PutParameter"):
            written = self._ssm.put_parameter(
                Name=parameter_name(link_id, "policy"), Value=text, Type="String", Overwrite=True
            )["Version"]
        if written != expected_version + 1:
            raise StalePolicy(link_id, expected_version, int(written), overwritten=True)

    def routing_config(self, link_id: str) -> RoutingConfig | None:
        """What is published; None before the first publication.

        Raises:
            InvalidPublishedConfig: someone else wrote it, and wrongly.
        """
        text = self._get(link_id, "routing-config")
        if text is None:
            return None
        try:
            return RoutingConfig.from_json(text)
        except InvalidRoutingConfig as error:
            field, _, reason = str(error).partition(": ")
            raise InvalidPublishedConfig(field, reason) from None

    def publish(
        self,
        config: RoutingConfig,
        expected_generation: int,
        *,
        replace_unreadable: bool = False,
    ) -> None:
        """Write the next generation; 0 is expected where nothing is published.

        Raises:
            StaleGeneration: what is published is not `expected_generation`.
            InvalidPublishedConfig: what is there is no routing config, and was not to be replaced.
        """
        try:
            current = self.routing_config(config.link_id)
        except InvalidPublishedConfig:
            if not replace_unreadable:
                raise
            current = None
        found = current.generation if current else 0
        if found != expected_generation:
            raise StaleGeneration(config.link_id, expected_generation, found)
        with calling("ssm:PutParameter"):
            self._ssm.put_parameter(
                Name=parameter_name(config.link_id, "routing-config"),
                Value=config.to_json(),
                Type="String",
                Overwrite=True,
            )

    def _get(self, link_id: str, document: str) -> str | None:
        return self._get_versioned(link_id, document)[0]

    def _get_versioned(self, link_id: str, document: str) -> tuple[str | None, int]:
        with calling("ssm:GetParameter"):
            try:
                answer = self._ssm.get_parameter(Name=parameter_name(link_id, document))
            except ClientError as error:
                if error_code(error) == "ParameterNotFound":
                    return None, 0
                raise
        return str(answer["Parameter"]["Value"]), int(answer["Parameter"]["Version"])
