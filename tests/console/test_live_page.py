"""The console in a real browser, on a link that breaks: what an operator sees and does.

One story on one embedded cloud, told in order, since bringing one up is what costs. With
`TWINSPAN_PICTURES` set to a folder, the story's pictures are written there, which is where the docs' come from.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.lease import LeaseStore
from infra.local.console import LocalConsole
from infra.local.demo.scenarios import POLICY
from infra.local.environment import Environment

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 60_000
STATE = "twinspan-state"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Notes what the page showed and in which of its readings, as it happens: no test need be quick to see it.
WATCH = """
window.seen = {readings: [], down: null};
new MutationObserver(() => {
  const at = document.getElementById("read-at")?.dateTime;
  if (at && window.seen.readings.at(-1) !== at) window.seen.readings.push(at);
  const down = document.querySelector('.card[data-path="tunnel-2"] .tunnel[data-up="no"] time');
  if (down && !window.seen.down) window.seen.down = {changed: down.dateTime, shown: Date.now()};
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Environment]:
    patient = {
        "attempts": 3,
        "required": 2,
        "timeout_seconds": 2.0,
    }  # a browser is a heavy neighbour
    policy = POLICY | {"failback": {"automation": "manual"}, "probe": patient}
    with Environment(policy=policy) as running:
        yield running


@pytest.fixture(scope="module")
def console(cloud: Environment) -> Iterator[LocalConsole]:
    with LocalConsole(cloud) as running:
        yield running


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    """What the browser's own console said against the page."""
    return []


@pytest.fixture(scope="module")
def page(chromium: Browser, console: LocalConsole, complaints: list[str]) -> Iterator[Page]:
    context = chromium.new_context(viewport=WIDE, color_scheme="light")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(WATCH)
    page = context.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(console.url)
    yield page
    context.close()


def show(page: Page, name: str) -> None:
    """Check the page in each guise for barriers, and take its picture where pictures are wanted."""
    folder = os.environ.get("TWINSPAN_PICTURES")
    for scheme in ("light", "dark"):
        for width, size in (("wide", WIDE), ("phone", PHONE)):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page)
            assert found.violations_count == 0, f"{scheme}, {width}: {found.generate_report()}"
            overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(overflow) <= 0, f"{width}: the page is wider than the window"
            if folder and (scheme, width) != ("dark", "phone"):
                Path(folder).mkdir(parents=True, exist_ok=True)
                page.evaluate("window.scrollTo(0, 0)")
                full = width == "wide" and not page.locator("dialog[open]").count()
                page.screenshot(path=f"{folder}/{name}-{width}-{scheme}.png", full_page=full)
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")


def going_on(cloud: Environment) -> list[tuple[str, str, list[str]]]:
    """(name, status, states) of the newest executions, for whoever reads a failure."""
    steps = cloud.client("stepfunctions", "govcloud")
    found = []
    for one in steps.list_executions(stateMachineArn=cloud.state_machine_arn)["executions"][:4]:
        history = steps.get_execution_history(executionArn=one["executionArn"], maxResults=1000)
        states = [
            f"{event['timestamp']:%S.%f} {event['stateEnteredEventDetails']['name']}"
            for event in history["events"]
            if "stateEnteredEventDetails" in event
        ]
        found.append((one["name"], one["status"], states))
    return found


def active(page: Page, path: str) -> None:
    page.locator(f'.card[data-path="{path}"][data-active]').wait_for()


def test_a_healthy_link_is_shown_as_such(page: Page) -> None:
    """The first line says that all is well, in a page that anybody can use."""
    page.locator('.headline[data-word="All well"]').wait_for()
    page.locator('#live[data-state="live"]').wait_for()
    show(page, "console-all-well")


def test_the_page_is_used_by_keyboard_alone(page: Page) -> None:
    """A dialog opens, takes the focus, closes with Escape and gives the focus back."""
    button = page.locator('[data-opens="dialog-failover-tunnel-2"]')
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#dialog-failover-tunnel-2")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("d => d.contains(document.activeElement)")
    show(page, "console-confirm")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator('[data-opens="dialog-failover-tunnel-2"]')).to_be_focused()


def test_still_pictures_are_still(page: Page) -> None:
    """Traffic moves on the active path, and not for those who asked for reduced motion."""
    flow = page.locator(".picture.wide .active .flow").first
    moving = "e => getComputedStyle(e).animationName"
    assert flow.evaluate(moving) == "flow"
    page.emulate_media(reduced_motion="reduce")
    assert flow.evaluate(moving) == "none"
    page.emulate_media(reduced_motion="no-preference")


def test_an_operator_moves_traffic_through_the_page(page: Page, cloud: Environment) -> None:
    """A confirmed failover runs through the workflow; the page shows it and the journal holds the reason."""
    page.locator('[data-opens="dialog-failover-tunnel-2"]').click()
    page.locator("#reason-failover-tunnel-2").fill("tunnel-1 is to be serviced")
    page.locator("#dialog-failover-tunnel-2 [data-confirms]").click()
    page.locator("#said").wait_for()
    active(page, "tunnel-2")
    assert cloud.routing_config()["active_path"] == "tunnel-2"
    done = page.locator('[data-execution^="failover-"][data-word="switched"]')
    done.wait_for()
    done.locator("summary").click()
    expect(done.locator(".entries")).to_contain_text("tunnel-1 is to be serviced")


def test_an_outage_is_on_the_page_within_two_readings(page: Page, cloud: Environment) -> None:
    """At a reading a second, what EC2 reports is shown two seconds later at most, without a reload."""
    cloud.faults.cut("tunnel-2")
    page.locator('.card[data-path="tunnel-2"] .tunnel[data-up="no"]').first.wait_for()
    active(page, "tunnel-1")
    page.locator('.card[data-path="tunnel-2"][data-health="FAILED"]').wait_for()
    try:
        page.locator('[data-region="timeline"] [data-word="switched"] >> nth=1').wait_for()
    except PlaywrightTimeout:
        shown = page.locator('[data-region="timeline"]').inner_text()
        trouble = page.locator("#trouble").inner_text()
        pytest.fail(f"{trouble!r}; {going_on(cloud)}; the timeline says: {shown}")
    seen = page.evaluate("window.seen")
    changed = datetime.fromisoformat(seen["down"]["changed"])
    shown_by = seen["down"]["shown"] / 1000
    sys.stdout.write(f"shown {shown_by - changed.timestamp():.2f} s after EC2 said so\n")
    between = [at for at in seen["readings"] if changed.timestamp() < when(at) <= shown_by]
    assert len(between) <= 2, between
    show(page, "console-outage")


def when(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def test_a_link_that_waits_for_a_person_is_resolved_with_a_reason(
    page: Page, cloud: Environment
) -> None:
    """Nothing goes on without a word of what was found; with one, the link is released and the journal has it."""
    cloud.faults.heal("tunnel-2")
    page.locator('.headline[data-word="All well"]').wait_for()
    keep_for_a_person(cloud, "RollbackIncomplete: rtb-0a1b: 10.0.0.0/16 could not be put back")
    button = page.locator('[data-opens="dialog-resolve"]')
    button.click()
    dialog, reason = page.locator("#dialog-resolve"), page.locator("#reason-resolve")
    show(page, "console-resolve")
    dialog.locator("[data-confirms]").click()
    expect(dialog).to_be_visible()
    assert reason.evaluate("field => field.validity.valueMissing")
    reason.fill("the table's owner put 10.0.0.0/16 back")
    dialog.locator("[data-confirms]").click()
    expect(page.locator("#said")).to_contain_text("bedrock is released")
    expect(button).to_have_count(0)
    told = page.locator('[data-region="timeline"]', has_text="put 10.0.0.0/16 back")
    expect(told).to_be_visible()
    assert "kept_because" not in LeaseStore(AwsSession(**account(cloud)), STATE).current("bedrock")


def keep_for_a_person(cloud: Environment, reason: str) -> None:
    """As a run does whose rollback failed: the lease stays taken, with the reason."""
    leases = LeaseStore(AwsSession(**account(cloud)), STATE)
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (lease := leases.acquire("bedrock", "run-9", 30, datetime.now(UTC))) is None:
        assert time.monotonic() < deadline, leases.current("bedrock")
        time.sleep(0.1)
    leases.keep(lease, reason)


def account(cloud: Environment) -> dict[str, str]:
    """How an `AwsSession` reaches the embedded cloud's GovCloud side."""
    names = cloud.exports()
    return {
        "region": names["AWS_REGION"],
        "access_key_id": names["AWS_ACCESS_KEY_ID"],
        "secret_access_key": names["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": names["AWS_ENDPOINT_URL"],
    }


def test_the_evidence_is_one_click_away(page: Page) -> None:
    """What a decision was made from opens from the timeline, and holds what was seen."""
    switched = page.locator('[data-region="timeline"] [data-word="switched"]').first
    if not switched.locator("details[open]").count():
        switched.locator("summary").click()
    switched.locator("a", has_text="observation").first.click()
    expect(page.locator("pre.evidence")).to_contain_text('"observed_at"')
    assert Axe().run(page).violations_count == 0
    page.go_back()


def test_the_browser_found_nothing_wrong(page: Page, complaints: list[str]) -> None:
    """No error in the browser's console, from the first page to the last."""
    assert complaints == []
