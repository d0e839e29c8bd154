"""What a link remembers between runs, in DynamoDB: its history, the plan under way, questions to people.

History and plans are fenced by the lease's token: a holder that was overtaken cannot write over a newer one.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.adapters.items import from_item, link_key, to_item
from control_plane.adapters.lease import Lease
from control_plane.domain.documents import canonical_json
from control_plane.domain.history import LinkHistory
from control_plane.domain.plan import Plan
from control_plane.errors import LeaseLost


class LinkState:
    """History, plans and waiting approvals of a link."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._db, self._table = session.client("dynamodb"), table

    def history(self, link_id: str) -> LinkHistory:
        """The link's memory; blank when nothing was observed yet."""
        values = self._get(link_id, "HISTORY")
        return LinkHistory.model_validate_json(values["document"]) if values else LinkHistory()

    def save_history(self, link_id: str, history: LinkHistory, lease: Lease) -> None:
        """Store the link's memory.

        Raises:
            LeaseLost: a holder with a newer token has written it already.
        """
        if not self._put_fenced(
            link_id, "HISTORY", {"document": history.model_dump_json()}, lease.token
        ):
            raise LeaseLost(link_id, lease.token)

    def save_plan(self, plan: Plan, execution: str, lease: Lease) -> None:
        """Store the plan with its inverse. From here on the link has an open plan until `close_plan`.

        Raises:
            LeaseLost: a holder with a newer token has a plan open.
        """
        document = {
            "plan": canonical_json(plan.to_dict()),
            "inverse": canonical_json([c.to_dict() for c in plan.inverse_changes()]),
            "execution": execution,
            "status": "open",
        }
        if not self._put_fenced(plan.link_id, "PLAN", document, lease.token):
            raise LeaseLost(plan.link_id, lease.token)

    def open_plan(self, link_id: str) -> Plan | None:
        """The plan that was begun and neither finished nor undone; what a crash leaves behind."""
        values = self._get(link_id, "PLAN")
        if not values or values.get("status") != "open":
            return None
        return Plan.from_dict(json.loads(values["plan"]))

    def close_plan(self, plan: Plan, status: str, lease: Lease) -> None:
        """Mark the plan `done`, `undone` or `abandoned`.

        Raises:
            LeaseLost: a holder with a newer token has written since.
        """
        document = {"plan": canonical_json(plan.to_dict()), "status": status}
        if not self._put_fenced(plan.link_id, "PLAN", document, lease.token):
            raise LeaseLost(plan.link_id, lease.token)

    def save_approval(self, link_id: str, execution: str, document: dict[str, Any]) -> None:
        """Remember a waiting approval under its execution's name, and as the link's latest question."""
        stored = canonical_json({**document, "execution": execution})
        for sort in (f"APPROVAL#{execution}", "APPROVAL"):
            item = to_item({**link_key(link_id, sort), "document": stored})
            with calling("dynamodb:PutItem"):
                self._db.put_item(TableName=self._table, Item=item)

    def latest_question(self, link_id: str) -> dict[str, Any] | None:
        """The latest approval that was asked for and not carried out, with its `execution`."""
        values = self._get(link_id, "APPROVAL")
        return dict(json.loads(values["document"])) if values else None

    def mark_answered(self, link_id: str, execution: str, *, approved: bool) -> None:
        """Note the answer on the latest question, if it is this execution's. Until it expires the same is not asked
        anew, and a yes holds for whichever run has the link."""
        asked = self.latest_question(link_id)
        if asked is None or asked["execution"] != execution:
            return
        answered = canonical_json({**asked, "is_answered": True, "is_approved": approved})
        with calling("dynamodb:PutItem"):
            try:
                self._db.put_item(
                    TableName=self._table,
                    Item=to_item({**link_key(link_id, "APPROVAL"), "document": answered}),
                    ConditionExpression="document = :asked",
                    ExpressionAttributeValues=to_item({":asked": canonical_json(asked)}),
                )
            except ClientError as error:
                # The run has gone on meanwhile, and has forgotten this question or asked another.
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def close_question(self, link_id: str) -> None:
        """Forget the latest question: it was answered with yes, and the next one is a new one."""
        with calling("dynamodb:DeleteItem"):
            self._db.delete_item(TableName=self._table, Key=to_item(link_key(link_id, "APPROVAL")))

    def approval(self, link_id: str, execution: str) -> dict[str, Any] | None:
        """A waiting approval: its task token, decision and expiry."""
        values = self._get(link_id, f"APPROVAL#{execution}")
        return dict(json.loads(values["document"])) if values else None

    def _get(self, link_id: str, sort: str) -> dict[str, Any]:
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(
                TableName=self._table,
                Key=to_item(link_key(link_id, sort)),
                ConsistentRead=True,
            )
        return from_item(answer.get("Item", {}))

    def _put_fenced(self, link_id: str, sort: str, values: dict[str, Any], token: int) -> bool:
        item = to_item({**link_key(link_id, sort), "token": token, **values})
        with calling("dynamodb:PutItem"):
            try:
                self._db.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(pk) OR #token <= :token",
                    ExpressionAttributeNames={"#token": "token"},
                    ExpressionAttributeValues=to_item({":token": token}),
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True
