"""Telling people, through SNS. A notification that cannot be sent is an error of its own kind.

Subjects and texts name links, paths, routes and commands: never secrets, prompts or completions.
"""

from __future__ import annotations

from control_plane.adapters.aws import AwsSession, calling

SUBJECT_LIMIT = 100


class Notifier:
    """Publishes to one topic."""

    def __init__(self, session: AwsSession, topic_arn: str) -> None:
        self._sns, self._topic_arn = session.client("sns"), topic_arn

    def send(self, subject: str, text: str) -> None:
        """Send one message; the subject is cut to SNS's limit of 100 characters."""
        with calling("sns:Publish"):
            self._sns.publish(
                TopicArn=self._topic_arn, Subject=subject[:SUBJECT_LIMIT], Message=text
            )
