"""The name of the API's deployment, which has to change with everything that a deployment pictures.

An `AWS::ApiGateway::Deployment` holds the API as it was when it was made, and CloudFormation makes no new one for a
changed method, authorizer or key source: only another logical id is another deployment. The template's own name
follows its text; here the parameters that decide what is in the picture are added to it.

Not covered: what only AWS can tell, such as another id of the execute-api endpoint, which the API's policy names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

PICTURED = ("ApiKeyFrom", "ApiTlsPolicy", "BearerKeyCacheSeconds", "ProvisionedConcurrency")
"""Parameters of the GovCloud template. The last one decides whether the function or its warm alias is called."""
_NAME = re.compile(r"\bApiDeployment[0-9a-f]{8}\b")


def digest_of(root: str, given: Mapping[str, str]) -> str:
    """Eight hexadecimal digits of those parameters: as the root template declares them, and as they are given."""
    values = {name: (_declared(root, name), given.get(name)) for name in PICTURED}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def with_digest(text: str, digest: str) -> str:
    """A template's text, the name of its API deployment made longer by the digest."""
    return _NAME.sub(lambda match: match[0] + digest, text)


def _declared(root: str, name: str) -> str:
    found = re.search(rf"^  {name}:\n((?:    .*\n)+)", root, re.MULTILINE)
    if found is None:
        raise ValueError(f"{name}: is no parameter of the template")
    return found[1]
