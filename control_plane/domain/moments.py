"""Moments in words, always in UTC whatever offset they were written with.

A policy may say `2026-03-01T14:00:00+02:00`; whoever reads a decision at night reads 12:00:00Z. Built from
`isoformat`, since `strftime` is an order slower and decisions are enumerated by the hundred thousand.
"""

from __future__ import annotations

from datetime import UTC, datetime


def clock(moment: datetime) -> str:
    """`12:00:00Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")[11:19] + "Z"


def day(moment: datetime) -> str:
    """`2026-03-01 12:00:00Z`."""
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds")[:19] + "Z"
