"""Whatever the documentation tells its reader to type works as it is written, in the order in which it is told.

One embedded cloud, started as the readme says; commands run in a shell beside it. Marked `proof`, since each command is a
process of its own and each state has to come about: it takes minutes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.commands import NOT_RUN, why_not
from tests.documentation.reader import Reader
from tests.documentation.reading import INDENTED, ROOT, Block, Page, pages
from tests.scenarios.test_tunnel_down import shape

# Played from top to bottom as one story; on other pages each block begins with a link that is well.
STORIES = {"docs/tutorial.md"}
PAGES = [page for page in pages() if page.blocks]
SWITCHES = "maximum_switches_per_hour"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has an embedded cloud up, and the files that examples name."""
    with Reader(tmp_path_factory.mktemp("reader")) as found:
        yield found


def policy(reader: Reader) -> dict[str, object]:
    said = reader.run(
        "aws ssm get-parameter --name /twinspan/bedrock/policy --query Parameter.Value --output text"
    )
    return dict(json.loads(said))


def go_home(reader: Reader) -> None:
    """A link that is well, on its preferred path, under a policy that lets it move often."""
    if reader.is_at_home():
        return
    reader.run("python -m infra.local heal all")
    if reader.status()["active_path"] != "tunnel-1":
        reader.run("twinspan failback --override --reason 'the next page' --wait")
    reader.wait("state.word is All well")


def prepare_files(reader: Reader) -> None:
    """What examples call the reader's own: policies, a plan, a snapshot, the table of keys."""
    now = policy(reader)
    for name in ("mine", "yours"):
        reader.file(f"{name}.json", json.dumps(now))
    reader.file("policy.json", json.dumps(now | {SWITCHES: 60}))
    reader.file("pages.json", json.dumps(now | {SWITCHES: 59}))
    reader.file("plan.json", json.dumps({"changes": []}))
    reader.run(
        "aws ssm get-parameter --name /twinspan/bedrock/topology --query Parameter.Value "
        "--output text > topology.json"
    )
    reader.run("twinspan snapshot --out network")
    reader.run(
        "aws dynamodb describe-table --table-name twinspan-caller-keys --query Table.TableName || "
        "aws dynamodb create-table --table-name twinspan-caller-keys --billing-mode PAY_PER_REQUEST "
        "--attribute-definitions AttributeName=keyDigest,AttributeType=S "
        "--key-schema AttributeName=keyDigest,KeyType=HASH"
    )
    reader.run("twinspan policy set pages.json --reason 'many pages'")


def as_the_reader_types_it(command: str, reader: Reader) -> str:
    """With the reader's own names where the documentation has placeholders."""
    command = command.replace("LINK", "bedrock")
    if command.startswith(("twinspan approve EXECUTION", "twinspan reject EXECUTION")):
        command = command.replace("EXECUTION", reader.status()["question"]["execution"])
    if re.search("EXECUTION|failover-20260301T120000000000", command):
        history = json.loads(reader.run("twinspan history --last 200 --json"))
        command = re.sub(
            "EXECUTION|failover-20260301T120000000000", history["runs"][0]["execution"], command
        )
    if "--to-generation 7" in command:
        earlier = reader.status()["generation"] - 1
        command = command.replace("--to-generation 7", f"--to-generation {earlier}")
    if "subnet-0a1b" in command:
        topology = json.loads((reader.folder / "topology.json").read_text())
        command = command.replace("subnet-0a1b", topology["sides"]["govcloud"]["subnet_ids"][0])
    if "key revoke 3f2a9c1d" in command:
        keys = json.loads(reader.run("twinspan key list --json"))
        valid = next(key for key in keys if key["state"] == "valid")
        command = command.replace("3f2a9c1d", valid["key_id"])
    if shutil.which("jq") is None:
        command = re.sub(r"\| jq \S+", "| python -m json.tool", command)
    return command


def outline(line: str) -> str:
    """A line without numbers, and without what tells which signal was first: a run's name, and its first words."""
    line = re.sub(r"\S*[0-9a-f]{8}-[0-9a-f-]{27}\S*", "RUN", line)
    line = re.sub(r"^([\d-]{10}T?\s?[\d:]{8}Z\s+\w[\w ]*?)\s\s.*", r"\1 …", line)
    return shape(line)


def type_in(block: Block, reader: Reader) -> None:
    """Run a block's commands, and compare with the output that the page shows for them."""
    printed: set[str] = set()
    shown = block.shown
    for command in block.commands:
        if why_not(command) is not None:
            shown = ()  # what prints it is tested where it is run
        else:
            said = reader.run(as_the_reader_types_it(command, reader))
            printed |= {outline(line) for line in said.splitlines()}
    missing = [line for line in shown if outline(line) not in printed]
    # Which signal is first, and what it says, differs from run to run.
    assert len(missing) <= (len(shown) + 1) // 2, (block.commands, missing, sorted(printed))


@pytest.mark.proof
@pytest.mark.parametrize(
    "page",
    sorted(PAGES, key=lambda page: (page.name not in STORIES, page.name)),
    ids=lambda page: page.name,
)
def test_every_command_of_a_page_works(page: Page, reader: Reader) -> None:
    """Each block as it is written; programs run as they stand, with the proxy's address given."""
    is_story = page.name in STORIES
    if not is_story and not (reader.folder / "network").exists():
        prepare_files(reader)
    for block in page.blocks:
        if not is_story and block.language != "until":
            go_home(reader)
        if block.language == "until":
            reader.wait(block.until)
        elif block.language == "python":
            reader.file(
                "example.py",
                f"import os\nproxy_url = os.environ['TWINSPAN_PROXY_URL']\n{block.code}",
            )
            reader.run("python example.py")
        else:
            type_in(block, reader)


def test_there_is_something_to_run() -> None:
    """Otherwise nothing above says anything."""
    commands = [command for page in PAGES for block in page.blocks for command in block.commands]
    assert len([command for command in commands if why_not(command) is None]) > 60


def test_each_exception_is_one() -> None:
    """A command that is documented no longer leaves no excuse behind."""
    commands = [command for page in PAGES for block in page.blocks for command in block.commands]
    unused = [start for start in NOT_RUN if not any(c.startswith(start) for c in commands)]
    assert not unused


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_commands_stand_in_shell_blocks(path: Path) -> None:
    """One that is only indented would never be run by the test above."""
    assert INDENTED.findall(path.read_text()) == []
