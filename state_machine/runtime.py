"""What all step handlers share: parse, compose, log with the execution's name, serialise.

`Control` is made once per execution environment. Logs carry the link, the execution and the state's
function, and never the document that travels. From the event to the proxy one name leads through all of them: the first
step's line ties the event's id to the execution, and the proxy names the execution whose config it adopts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from control_plane.domain.documents import Model, parse
from control_plane.errors import InvalidStepInput, TwinspanError
from control_plane.operations.run import Run
from control_plane.settings import Settings
from control_plane.wiring import Control

NAMESPACE = "Twinspan"
Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


class Contract(NamedTuple):
    """What a step takes and what it gives."""

    takes: type[BaseModel]
    gives: type[BaseModel]


@cache
def control() -> Control:
    """This environment's adapters."""
    return Control.from_settings(Settings.load())


@cache
def logger() -> Logger:
    """This environment's logger; its level and service name come from Powertools' own variables."""
    return Logger()


def measure(run: Run, stage: str, milliseconds: float) -> None:
    """Print a stage's duration in the embedded metric format: `StageDuration` by `LinkId` and `Stage`.

    A stage is a step, by its module's name, or one of two spans that no single step covers: `detect`, from the
    time that the signal gives to the run's beginning, and `adopt`, from the publication to the answers of proxies
    that use it. Only what belongs to a run is measured: a sweep's steps would be billed every minute, and Lambda's
    own metrics have them.
    """
    # Without a service's name, which would be one more dimension: a widget finds a metric by all of them.
    metrics = EphemeralMetrics(service="", namespace=NAMESPACE)
    metrics.add_dimension("LinkId", run.link_id)
    metrics.add_dimension("Stage", stage)
    metrics.add_metadata("execution", run.execution)
    metrics.add_metric("StageDuration", MetricUnit.Milliseconds, milliseconds)
    metrics.flush_metrics()


def told_of(document: BaseModel) -> dict[str, Any]:
    """What a contract's model wants said of itself in the log: identities and verdicts, never content."""
    fields: Callable[[], dict[str, Any]] = getattr(document, "log_fields", dict)
    return fields()


def step(model: type[Model]) -> Callable[[Callable[[Control, Model], BaseModel]], Handler]:
    """Make a Lambda handler of a function from one contract model to another."""

    def decorate(function: Callable[[Control, Model], BaseModel]) -> Handler:
        def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
            document = parse(model, event, InvalidStepInput)
            log = logger()
            run = getattr(document, "run", None)
            execution = run.execution if run else getattr(document, "execution", None)
            log.append_keys(
                link_id=run.link_id if run else control().settings.link_id,
                execution=execution,
                request_id=context.aws_request_id,
            )
            stage = function.__module__.rpartition(".")[2]
            began = time.monotonic()
            try:
                answer = function(control(), document)
                run = run or getattr(
                    answer, "run", None
                )  # the first step's run begins with its answer
            except TwinspanError as error:
                log.warning(
                    "step failed", extra={"error": type(error).__name__, "cause": str(error)}
                )
                raise
            finally:
                if run is not None:
                    measure(run, stage, (time.monotonic() - began) * 1000)
            log.info("step done", extra={"step": stage, **told_of(document), **told_of(answer)})
            return answer.model_dump(mode="json")

        handler.__doc__ = function.__doc__
        gives = get_type_hints(function)["return"]
        handler.contract = Contract(model, gives)  # type: ignore[attr-defined]
        return handler

    return decorate
