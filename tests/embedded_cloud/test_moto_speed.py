"""What is remembered of moto's classes is never older than the classes."""

from __future__ import annotations

import moto.core.responses

from infra.local import moto_speed
from infra.local.ec2_facts_graft import graft


class Answers:
    """Stands for one of moto's classes of answers."""

    def describe_hosts(self) -> None:
        """An action of moto's own."""


class Facts:
    """What is added to it."""

    def replace_hosts(self) -> None:
        """An action that moto lacks."""


def test_an_action_that_is_added_late_is_answered() -> None:
    """Also by a process that has listed the class's actions before."""
    moto_speed.install()
    listed = vars(moto.core.responses)["method_names_from_class"]
    assert listed(Answers) == ["describe_hosts"]
    graft(Answers, Facts)
    assert sorted(listed(Answers)) == ["describe_hosts", "replace_hosts"]
