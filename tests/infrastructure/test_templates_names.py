"""Names and policies that fit: AWS refuses a longer one in the middle of a deployment, after much was made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from infra.rendering import EVERYTHING, render
from tests.templates import REGION, files, parse

# Of the properties whose limit CloudFormation's schema does not tell, by the services' own references.
LIMITS = {
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"): 32,
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"): 32,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::S3::Bucket", "BucketName"): 63,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::StepFunctions::StateMachine", "StateMachineName"): 80,
}


def longest(side: str) -> str:
    """The longest link id that a side's root takes."""
    pattern = parse(files(side)[0]).parameters["LinkId"]["AllowedPattern"]
    found = re.search(r"\{0,(\d+)\}$", pattern)
    assert found is not None
    return "a" * (1 + int(found[1]))


def texts(
    schema: Mapping[str, Any], root: Mapping[str, Any], value: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, int | None]]:
    """Each text below a value, by its place, with the schema's limit for it."""
    while "$ref" in schema:
        place: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            place = place[part]
        schema = place
    if isinstance(value, str):
        yield ".".join(path), value, schema.get("maxLength")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name in schema.get("properties", {}):
                yield from texts(schema["properties"][name], root, inner, (*path, name))
    elif isinstance(value, (list, tuple)) and isinstance(schema.get("items"), Mapping):
        for inner in value:
            yield from texts(schema["items"], root, inner, path)


@pytest.mark.parametrize("side", REGION)
def test_the_longest_link_id_fits_every_name(side: str) -> None:
    """Buckets, rules, functions, users, load balancers: with the region's and the account's part in it."""
    link_id = longest(side)
    too_long = []
    for name, item in render(side, {**EVERYTHING[side], "LinkId": link_id}).items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION[side], item.type_name).schema
        for where, text, limit in texts(schema, schema, dict(item.properties)):
            limit = LIMITS.get((item.type_name, where), limit)
            if limit is not None and len(text) > limit:
                too_long.append(f"{name}.{where}: {len(text)} of {limit}")
    assert too_long == []


def test_every_part_takes_the_same_link_ids() -> None:
    """What the root takes, no nested stack refuses later."""
    patterns = {
        parse(path).parameters["LinkId"]["AllowedPattern"]
        for side in REGION
        for path in files(side)
    }
    assert len(patterns) == 1


# Characters without white space, by IAM's quotas: of what stands in a user or a role together, and of a policy by itself.
IN_A_USER, IN_A_ROLE, BY_ITSELF, ATTACHED = 2048, 10240, 6144, 10
# A link that names its models one by one, as its operators are told to.
MODELS = ",".join(
    f"arn:aws:bedrock:us-east-1:222222222222:inference-profile/us.anthropic.claude-sonnet-4-{n:08}-v1:0"
    for n in range(10)
)


@pytest.mark.parametrize("side", REGION)
def test_every_policy_fits_what_holds_it(side: str) -> None:
    """With ten models named, too: the narrower a link's permissions, the longer they are."""
    parameters = {**EVERYTHING[side], "LinkId": longest(side)}
    if side == "commercial":
        parameters["BedrockModelArns"] = MODELS
    limits = {"AWS::IAM::User": IN_A_USER, "AWS::IAM::Role": IN_A_ROLE}

    def size(document: Mapping[str, Any]) -> int:
        return len(re.sub(r"\s", "", json.dumps(document)))

    for name, item in render(side, parameters).items():
        if item.type_name in limits:
            inline = sum(size(p["PolicyDocument"]) for p in item.properties.get("Policies", []))
            assert inline <= limits[item.type_name], (name, inline)
            assert len(item.properties.get("ManagedPolicyArns", [])) <= ATTACHED, name
        if item.type_name == "AWS::IAM::ManagedPolicy":
            assert size(item.properties["PolicyDocument"]) <= BY_ITSELF, name
        if item.type_name == "AWS::Events::Rule":
            assert len(json.dumps(item.properties.get("EventPattern", {}))) <= 2048, name
