"""What each command's exit codes mean: the end of its help, and a part of the reference."""

from __future__ import annotations

SAID_NO = "you said no"
RAN = "you said no, or the execution that --wait followed failed"
HELD = "you said no, or the policy says so already"


def exits(no: str = "") -> str:
    """The codes of a command; `no`: what 1 means, for a command that has it."""
    one = f"1 {no}; " if no else ""
    return (
        f"Exit codes: 0 done; {one}2 the input, the credentials or the rights are to be mended, or nobody was there "
        "to be asked; 3 AWS was busy or out of reach, try again."
    )
