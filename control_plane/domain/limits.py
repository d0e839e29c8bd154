"""The numbers of a policy: thresholds, ages and counts, each with a default that is safe to run with.

Failing and recovering have thresholds of their own everywhere, with a band between them in which a path
is DEGRADED: it keeps traffic that it has and gets none that it has not. Checks here are of one document
by itself; `policy_check` judges how the numbers suit each other.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from control_plane.domain.documents import Document


class Hysteresis(Document):
    """How many observations in a row change our mind; recovering takes more than failing."""

    failed_observations_to_fail: int = Field(default=1, ge=1, le=20)
    healthy_observations_to_recover: int = Field(default=2, ge=1, le=100)


class FlapDamping(Document):
    """RFC 2439: a path collects a penalty for each failure that moved traffic, which decays."""

    penalty_per_switch: float = Field(default=1000, gt=0)
    half_life_seconds: float = Field(default=900, gt=0)
    suppress_limit: float = Field(default=1500, gt=0)
    reuse_limit: float = Field(default=750, gt=0)
    maximum_suppress_seconds: float = Field(default=3600, gt=0)

    @model_validator(mode="after")
    def _reuse_below_suppress(self) -> Self:
        if self.reuse_limit >= self.suppress_limit:
            raise ValueError("reuse_limit must be below suppress_limit")
        return self


class ProbePolicy(Document):
    """A probe passes when `required` of `attempts` signed calls over the path are answered."""

    attempts: int = Field(default=3, ge=1, le=10)
    required: int = Field(default=2, ge=1, le=10)
    timeout_seconds: float = Field(default=2.0, gt=0, le=10)
    model_id: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.required > self.attempts:
            raise ValueError("required must not exceed attempts")
        return self


class LatencyLimits(Document):
    """Median latency: above `warning` is reported, above `critical` the path is degraded.

    A path that was left for being slow is returned to below `warning`, not below `critical`. An alert is
    raised after `alert_after_seconds` above `critical` without a break.
    """

    warning_ms: float = Field(default=1000, gt=0)
    critical_ms: float = Field(default=2000, gt=0)
    alert_after_seconds: float = Field(default=600, ge=0, le=86400)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warning_ms > self.critical_ms:
            raise ValueError("warning_ms must not exceed critical_ms")
        return self


class ErrorLimits(Document):
    """Shares of calls (0 to 1) that got no usable answer.

    In a canary's window `fail_ratio` and more fails the path, above `recover_ratio` it is degraded. An
    alert is raised after `alert_after_seconds` above `alert_ratio` without a break.
    """

    fail_ratio: float = Field(default=0.5, gt=0, le=1)
    recover_ratio: float = Field(default=0.1, ge=0, lt=1)
    alert_ratio: float = Field(default=0.1, ge=0, lt=1)
    alert_after_seconds: float = Field(default=120, ge=0, le=86400)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.recover_ratio >= self.fail_ratio:
            raise ValueError("recover_ratio must be below fail_ratio")
        return self


class SourceAges(Document):
    """How old what a source said may be; older than that it counts as not observed."""

    probe_seconds: float = Field(default=120, gt=0, le=3600)
    telemetry_seconds: float = Field(default=300, gt=0, le=3600)
    canary_seconds: float = Field(default=180, gt=0, le=3600)
    proxy_report_seconds: float = Field(default=120, gt=0, le=3600)


class MaintenanceLimits(Document):
    """How long before and after AWS's date of a tunnel's replacement traffic is not returned to it.

    Bounded on both sides: a date that passed without anything happening does not bar a path for ever.
    """

    avoid_before_seconds: float = Field(default=3600, ge=0, le=604800)
    avoid_after_seconds: float = Field(default=14400, ge=0, le=604800)
