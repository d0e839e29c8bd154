"""The six phases, one after the other; and back, if one of them is a trigger.

    artifacts → commercial → govcloud → credential → routers → documents

A phase begins when its preconditions hold, tells what it does, and ends with a check of what it promised. A
failure without a trigger leaves everything as it stands, to be continued. A trigger undoes the failing phase and
whatever was begun that needs it, in reverse. On a link that was there before, a tunnel that stays down or a path
that carries nothing blames all that this deployment changed: the previous configuration is put back as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from control_plane.errors import TwinspanError
from infra.deploy import journal, preflight, record
from infra.deploy.artifacts import Artifacts, complete_source
from infra.deploy.commercial import Commercial
from infra.deploy.commercial import source as commercial_source
from infra.deploy.credential import Credential
from infra.deploy.govcloud import GovCloud
from infra.deploy.link import Documents
from infra.deploy.progress import DeploymentError, Trigger, phase_failures
from infra.deploy.record import Record, RecordState
from infra.deploy.routers import Routers
from infra.deploy.run import Phase, Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, Deployment, OnFailure
from infra.stacks import Plan, StackError

ROW: tuple[Phase, ...] = (
    Artifacts(),
    Commercial(),
    GovCloud(),
    Credential(),
    Routers(),
    Documents(),
)
PHASES = tuple(phase.name for phase in ROW)
# Stand-ins from a documentation network, for a plan made before the routers have addresses.
_PLANNED_ADDRESSES = ("192.0.2.1", "192.0.2.2")
_BLAMES_EVERYTHING = (Trigger.TUNNEL_NOT_UP, Trigger.CONNECTIVITY_TEST_FAILED)


def carry_out(run: Run) -> Deployment:
    """Deploy, or undo and raise.

    Raises:
        DeploymentError: naming the phase; after a rollback with what was undone, and what was not.
    """
    with phase_failures(preflight.NAME):
        preflight.check(run)
        ours = _begun(run)
    for number, phase in enumerate(ROW, start=1):
        run.say(phase.name, f"phase {number} of {len(ROW)}")
        try:
            with phase_failures(phase.name):
                _one(run, phase, ours)
        except DeploymentError as error:
            _failed(run, phase, ours, error)
            raise
    ours.state = RecordState.COMPLETE
    with phase_failures(PHASES[-1]):
        record.save(run, ours)
        if not ours.is_first:
            journal.note(run, ours, "deployed")
    return Deployment(
        run.settings.link_id,
        run.sides,
        run.commercial,
        run.govcloud,
        run.topology,
        run.policy,
        run.routing_config,
    )


def look_ahead(run: Run) -> list[Plan]:
    """Both stacks' change sets, shown and dropped."""
    plans = []
    with phase_failures(preflight.NAME):
        preflight.check(run)
    with phase_failures("artifacts"):
        ROW[0].require(run)
        ROW[0].act(run)
    with phase_failures("commercial"):
        stacks = run.stacks(COMMERCIAL)
        plans.append(stacks.plan(commercial_source(run)))
        stacks.discard(plans[-1])
        outputs = stacks.outputs(run.settings.commercial_stack)
    if outputs is None:
        run.say("commercial", "the routers have no addresses yet: planned with stand-ins")
        outputs = dict(zip(("RouterAddressA", "RouterAddressB"), _PLANNED_ADDRESSES, strict=True))
    run.commercial = outputs
    with phase_failures("govcloud"):
        stacks = run.stacks(GOVCLOUD)
        plans.append(stacks.plan(complete_source(run)))
        stacks.discard(plans[-1])
    return plans


def _begun(run: Run) -> Record:
    """The record of a deployment that was interrupted, or a new one."""
    last = record.load(run)
    if last is None or last.state is not RecordState.UNDER_WAY:
        return Record.new(run.settings.link_id)
    run.say(preflight.NAME, f"going on with deployment {last.deployment_id} of {last.begun_at}")
    if last.failure:
        run.say(preflight.NAME, f"which stopped at {last.failure}")
    # What later phases did stands and may have to be undone, so the stacks are looked up for them.
    for side, stack, outputs in (
        (COMMERCIAL, run.settings.commercial_stack, run.commercial),
        (GOVCLOUD, run.settings.govcloud_stack, run.govcloud),
    ):
        outputs.update(run.stacks(side).outputs(stack) or {})
    last.done.clear()
    last.failure = None
    return last


def _one(run: Run, phase: Phase, ours: Record) -> None:
    phase.require(run)
    if phase is not ROW[0]:  # which makes the bucket that records lie in, and changes nothing else
        if phase.name not in ours.before:
            ours.before[phase.name] = dict(phase.before(run))
        record.save(run, ours)
    phase.act(run)
    phase.check(run)
    ours.done.append(phase.name)


def _failed(run: Run, phase: Phase, ours: Record, error: DeploymentError) -> None:
    """Undo what the trigger asks for, and keep the record; the error is completed with both lists."""
    ours.failure = str(error)
    if not ours.before:
        return
    if error.trigger is None or run.settings.on_failure is OnFailure.KEEP:
        why = "is no trigger" if error.trigger is None else "was to be kept"
        run.say(phase.name, f"failed, which {why}: repeat the deployment to go on from here")
        _saved(run, ours, error)
        return
    run.say(phase.name, f"failed ({error.trigger}): {error.reason}")
    everything = run.settings.on_failure is OnFailure.ALL or (
        error.trigger in _BLAMES_EVERYTHING and not ours.is_first
    )
    undone, left = roll_back(run, ours, to_undo(phase.name, tuple(ours.before), everything))
    error.undone, error.left = tuple(undone), tuple(left)
    if not left:
        ours.state = RecordState.ROLLED_BACK
    _saved(run, ours, error)


def to_undo(failing: str, begun: Sequence[str], everything: bool) -> list[Phase]:
    """The phases to undo, in the order to do it: the failing one and what needs it, of those that were begun."""
    wanted = set(begun) if everything else {failing}
    for phase in ROW:
        if set(phase.needs) & wanted:
            wanted.add(phase.name)
    return [phase for phase in reversed(ROW) if phase.name in wanted and phase.name in begun]


def roll_back(run: Run, ours: Record, phases: Sequence[Phase]) -> tuple[list[str], list[str]]:
    """Undo phases, going on past what fails; returns what was done and what could not be."""
    undone, left = [], []
    for phase in phases:
        try:
            with phase_failures(phase.name):
                done = f"{phase.name}: {phase.undo(run, ours.before[phase.name])}"
        except DeploymentError as error:
            left.append(str(error))
            run.say(phase.name, f"could not be undone: {error.reason}")
        else:
            undone.append(done)
            run.say(phase.name, f"undone: {done.partition(': ')[2]}")
            del ours.before[phase.name]
    return undone, left


def _saved(run: Run, ours: Record, error: DeploymentError) -> None:
    """Keep the record and tell the link's journal; a failure here must not hide the one that led here."""
    try:
        record.save(run, ours)
        if error.trigger is not None:
            journal.note(run, ours, "rolled-back", error)
    except (BotoCoreError, ClientError, StackError, TwinspanError) as second:
        error.left = (*error.left, f"the record could not be kept: {second}")
