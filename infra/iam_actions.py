"""What IAM is asked when an operation is called: the action, what it acts on, and what is known besides.

Most operations are known to IAM by their own name; the ones that are not, and what each acts on, stand here in one
table for all that the functions, the state machines and the commercial principal call. Source: the Service
Authorization Reference (docs.aws.amazon.com/service-authorization), service by service; for transactions and batches
DynamoDB's guide, "Using IAM with DynamoDB transactions"; for Converse its API reference, "Permissions".

Not covered: what AWS asks for a caller behind a call, as KMS is for an encrypted table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Parameters = Mapping[str, Any]
Context = Mapping[str, tuple[str, ...]]


class UnknownOperation(LookupError):
    """An operation that the table does not have. Look it up in the reference and add it."""


class Names(Protocol):
    """What a request leaves to AWS to know."""

    def partition_key(self, table: str) -> str:
        """The name of a table's partition key."""

    def secret_arn(self, secret_id: str) -> str:
        """The ARN of a secret that is asked for by name or by ARN."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call is made."""

    partition: str
    region: str
    account_id: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of something in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"


@dataclass(frozen=True, slots=True)
class Question:
    """What IAM is asked. `resource` is `*` for actions that know none; `context`: condition keys and their values."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Call:
    place: Place
    parameters: Parameters
    names: Names


_Asks = Callable[[_Call], Iterator[Question]]


def questions(
    service: str, operation: str, parameters: Parameters, place: Place, names: Names
) -> list[Question]:
    """What IAM is asked for a call. `service` is the name that requests are signed for.

    Raises:
        UnknownOperation: the table does not have it.
    """
    asks = _OPERATIONS.get((service, operation))
    if asks is None and service == "ec2" and operation.startswith("Describe"):
        asks = _no_resource(f"ec2:{operation}")
    if asks is None:
        raise UnknownOperation(f"{service}:{operation}")
    return list(asks(_Call(place, parameters, names)))


def _no_resource(action: str) -> _Asks:
    return lambda call: iter((Question(action, "*"),))


def _named(action: str, service: str, kind: str, parameter: str) -> _Asks:
    """Acts on one thing, which a parameter names by its ARN or by its name."""

    def ask(call: _Call) -> Iterator[Question]:
        named = str(call.parameters[parameter])
        arn = named if named.startswith("arn:") else call.place.arn(service, f"{kind}{named}")
        yield Question(action, arn)

    return ask


def _parameters(action: str, member: str) -> _Asks:
    """Parameter Store: a name begins with a slash, which its ARN does not double."""

    def ask(call: _Call) -> Iterator[Question]:
        named = call.parameters[member]
        for name in [named] if isinstance(named, str) else named:
            yield Question(action, call.place.arn("ssm", f"parameter/{name.removeprefix('/')}"))

    return ask


def _secret(call: _Call) -> Iterator[Question]:
    arn = call.names.secret_arn(call.parameters["SecretId"])
    yield Question("secretsmanager:GetSecretValue", arn)


def _events(call: _Call) -> Iterator[Question]:
    for entry in call.parameters["Entries"]:
        bus = entry.get("EventBusName", "default")
        yield Question(
            "events:PutEvents",
            bus if bus.startswith("arn:") else call.place.arn("events", f"event-bus/{bus}"),
            {"events:source": (entry["Source"],), "events:detail-type": (entry["DetailType"],)},
        )


def _object(action: str) -> _Asks:
    def ask(call: _Call) -> Iterator[Question]:
        bucket, key = call.parameters["Bucket"], call.parameters["Key"]
        yield Question(action, f"arn:{call.place.partition}:s3:::{bucket}/{key}")

    return ask


def _model(action: str) -> _Asks:
    def ask(call: _Call) -> Iterator[Question]:
        model = call.parameters["modelId"]
        foundation = (
            f"arn:{call.place.partition}:bedrock:{call.place.region}::foundation-model/{model}"
        )
        yield Question(action, model if model.startswith("arn:") else foundation)

    return ask


def _item(action: str) -> _Asks:
    """One item of a table, by `Key` or `Item`."""
    return lambda call: iter((_on_items(call, action, call.parameters, [call.parameters]),))


def _query(call: _Call) -> Iterator[Question]:
    # Which partition is queried stands in an expression; no policy here limits queries by it.
    table = call.place.arn("dynamodb", f"table/{call.parameters['TableName']}")
    index = call.parameters.get("IndexName")
    yield Question("dynamodb:Query", f"{table}/index/{index}" if index else table)


def _transaction(call: _Call) -> Iterator[Question]:
    """A transaction of writes asks for each of them by its own action."""
    actions = {
        "ConditionCheck": "dynamodb:ConditionCheckItem",
        "Delete": "dynamodb:DeleteItem",
        "Put": "dynamodb:PutItem",
        "Update": "dynamodb:UpdateItem",
    }
    for member in call.parameters["TransactItems"]:
        ((kind, write),) = member.items()
        yield _on_items(call, actions[kind], write, [write])


def _batch_of_writes(call: _Call) -> Iterator[Question]:
    for table, requests in call.parameters["RequestItems"].items():
        writes = [write for request in requests for write in request.values()]
        yield _on_items(call, "dynamodb:BatchWriteItem", {"TableName": table}, writes)


def _batch_of_reads(call: _Call) -> Iterator[Question]:
    for table, request in call.parameters["RequestItems"].items():
        keys = [{"Key": key} for key in request["Keys"]]
        yield _on_items(call, "dynamodb:BatchGetItem", {"TableName": table}, keys)


def _on_items(call: _Call, action: str, named: Parameters, items: Sequence[Parameters]) -> Question:
    table = str(named["TableName"]).rpartition("table/")[2]
    partition_key = call.names.partition_key(table)
    values = [item.get("Item", item.get("Key", {}))[partition_key] for item in items]
    keys = sorted({str(next(iter(value.values()))) for value in values})
    return Question(
        action, call.place.arn("dynamodb", f"table/{table}"), {"dynamodb:LeadingKeys": tuple(keys)}
    )


_TABLE_OF_THE_GATEWAY = "transit-gateway-route-table/"


def _route_of_the_gateway(action: str) -> _Asks:
    """The table, and the attachment that the route leads to, where it leads to one."""

    def ask(call: _Call) -> Iterator[Question]:
        table = call.parameters["TransitGatewayRouteTableId"]
        yield Question(action, call.place.arn("ec2", f"{_TABLE_OF_THE_GATEWAY}{table}"))
        if attachment := call.parameters.get("TransitGatewayAttachmentId"):
            arn = call.place.arn("ec2", f"transit-gateway-attachment/{attachment}")
            yield Question(action, arn)

    return ask


_OPERATIONS: Mapping[tuple[str, str], _Asks] = {
    ("bedrock", "Converse"): _model("bedrock:InvokeModel"),
    ("bedrock", "ConverseStream"): _model("bedrock:InvokeModelWithResponseStream"),
    ("bedrock", "InvokeModel"): _model("bedrock:InvokeModel"),
    ("bedrock", "InvokeModelWithResponseStream"): _model("bedrock:InvokeModelWithResponseStream"),
    ("dynamodb", "BatchGetItem"): _batch_of_reads,
    ("dynamodb", "BatchWriteItem"): _batch_of_writes,
    ("dynamodb", "DeleteItem"): _item("dynamodb:DeleteItem"),
    ("dynamodb", "GetItem"): _item("dynamodb:GetItem"),
    ("dynamodb", "PutItem"): _item("dynamodb:PutItem"),
    ("dynamodb", "Query"): _query,
    ("dynamodb", "TransactWriteItems"): _transaction,
    ("dynamodb", "UpdateItem"): _item("dynamodb:UpdateItem"),
    **{
        ("ec2", f"{verb}Route"): _named(f"ec2:{verb}Route", "ec2", "route-table/", "RouteTableId")
        for verb in ("Create", "Delete", "Replace")
    },
    **{
        ("ec2", operation): _named(
            f"ec2:{operation}", "ec2", _TABLE_OF_THE_GATEWAY, "TransitGatewayRouteTableId"
        )
        for operation in (
            "DeleteTransitGatewayRoute",
            "GetTransitGatewayRouteTableAssociations",
            "GetTransitGatewayRouteTablePropagations",
            "SearchTransitGatewayRoutes",
        )
    },
    **{
        ("ec2", f"{verb}TransitGatewayRoute"): _route_of_the_gateway(
            f"ec2:{verb}TransitGatewayRoute"
        )
        for verb in ("Create", "Replace")
    },
    ("ec2", "GetManagedPrefixListEntries"): _named(
        "ec2:GetManagedPrefixListEntries", "ec2", "prefix-list/", "PrefixListId"
    ),
    ("ec2", "GetVpnTunnelReplacementStatus"): _named(
        "ec2:GetVpnTunnelReplacementStatus", "ec2", "vpn-connection/", "VpnConnectionId"
    ),
    ("events", "PutEvents"): _events,
    ("lambda", "Invoke"): _named("lambda:InvokeFunction", "lambda", "function:", "FunctionName"),
    # Scoped to less than every alarm, it shows no composite ones.
    ("monitoring", "DescribeAlarms"): _no_resource("cloudwatch:DescribeAlarms"),
    ("s3", "GetObject"): _object("s3:GetObject"),
    ("s3", "HeadObject"): _object("s3:GetObject"),
    ("s3", "PutObject"): _object("s3:PutObject"),
    ("secretsmanager", "GetSecretValue"): _secret,
    ("sns", "Publish"): _named("sns:Publish", "sns", "", "TopicArn"),
    ("ssm", "GetParameter"): _parameters("ssm:GetParameter", "Name"),
    ("ssm", "GetParameters"): _parameters("ssm:GetParameters", "Names"),
    ("ssm", "GetParametersByPath"): _parameters("ssm:GetParametersByPath", "Path"),
    ("ssm", "PutParameter"): _parameters("ssm:PutParameter", "Name"),
    ("states", "StartExecution"): _named(
        "states:StartExecution", "states", "stateMachine:", "stateMachineArn"
    ),
}
