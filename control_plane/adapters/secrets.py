"""The commercial side's credential, kept in GovCloud's Secrets Manager."""

from __future__ import annotations

from pydantic import SecretStr

from control_plane.adapters.aws import AwsSession, calling
from control_plane.domain.documents import Document, parse_json
from control_plane.errors import InvalidDocument


class InvalidCredential(InvalidDocument):
    """The secret does not hold a usable credential; its content is never shown."""

    document = "commercial credential"


class CommercialCredential(Document):
    """An access key of the commercial account; `region` is where its services are."""

    aws_access_key_id: str
    aws_secret_access_key: SecretStr
    region: str
    bearer_token: SecretStr | None = None


def commercial_credential(session: AwsSession, secret_id: str) -> CommercialCredential:
    """Fetch the credential.

    Raises:
        InvalidCredential: naming the field that is wrong.
    """
    with calling("secretsmanager:GetSecretValue"):
        answer = session.client("secretsmanager").get_secret_value(SecretId=secret_id)
    return parse_json(CommercialCredential, answer["SecretString"], InvalidCredential)
