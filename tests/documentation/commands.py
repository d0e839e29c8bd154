"""How the documented commands are run: what stands for the reader's own names, and what cannot be run here, and why.

Whatever is on none of these lists is run as it is written.
"""

from __future__ import annotations

# By how a command begins. Each reason says where it is run instead, or what it takes.
NOT_RUN = {
    "make demo": "tests/scenarios plays every scenario with the command behind it",
    "make up": "the reader of this test has run what it runs",
    "python -m infra.local down": "the pages share one cloud",
    "make test": "it runs this test",
    ". .venv/demo/bin/activate": "the environment under test takes its place",
    "aws apigateway": "names a plan of the reader's; tests/embedded_cloud/test_api_key_classes.py makes such keys",
    "aws ec2 terminate-instances": "no router runs; tests/infrastructure renders what starts the next one",
    "aws cloudformation": "needs an account; the image builder is not emulated",
    "twinspan deploy": "needs two accounts; tests/infrastructure deploys with the function behind it",
    "twinspan destroy": "needs two accounts; tests/infrastructure destroys with the function behind it",
    "twinspan approve 0a1b2c3d": "no such run; the tutorial's approval is run",
    "twinspan reject 0a1b2c3d": "no such run; tests/workflows rejects",
    'twinspan resolve --reason "the route': "nothing waits for it; the tutorial's is run",
}
# Commands that go on until Ctrl-C.
UNTIL_STOPPED = ("twinspan status --watch", "twinspan console")
# Where another exit code than 0 is an answer that the documentation announces.
ANSWERS = {
    "twinspan status": {0, 1},  # 1 while no call may get through, or a person is needed
    "twinspan doctor": {1},  # the embedded cloud has no image for the routers, which it says
    "twinspan policy diff": {0, 1},  # 1 where it differs
    'twinspan failover --to tunnel-2 --reason "to see it fail"': {1},
}


def why_not(command: str) -> str | None:
    """Why a command is not run, if it is not."""
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def is_endless(command: str) -> bool:
    """Whether a command goes on until it is interrupted."""
    return command.startswith(UNTIL_STOPPED)


def answers(command: str) -> set[int]:
    """Exit codes with which a command has done what it should."""
    return next((codes for start, codes in ANSWERS.items() if command.startswith(start)), {0})
