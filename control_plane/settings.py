"""Settings of the control-plane functions, read from the environment by each entry point.

Read when an entry point composes its adapters, never at import, so that a test or a worker sees the
environment that it was given.
"""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from control_plane.domain.documents import problems
from control_plane.errors import InvalidDocument


class InvalidSettings(InvalidDocument):
    """An environment variable is missing or malformed."""

    document = "environment"


class Settings(BaseSettings):
    """One function's surroundings. Environment names are the field names with `TWINSPAN_` before them."""

    model_config = SettingsConfigDict(env_prefix="TWINSPAN_", frozen=True)

    link_id: str
    state_table: str
    evidence_bucket: str
    notify_topic_arn: str
    proxy_function: str
    commercial_endpoint_url: str | None = None

    @classmethod
    def load(cls) -> Settings:
        """Read the environment.

        Raises:
            InvalidSettings: naming the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            field, reason = problems(error)[0]
            raise InvalidSettings(f"TWINSPAN_{field.upper()}", reason) from None


# Where the stacks of all links register them, apart from the links' own documents: listing reads nothing else.
REGISTRATIONS = "/twinspan-links/"


def parameter_name(link_id: str, document: str) -> str:
    """The SSM name of one of a link's documents: `routing-config`, `topology` or `policy`."""
    return f"/twinspan/{link_id}/{document}"
