"""Schedules on the server, which calls them recurring runs: exactly one of a name is active, whatever fails.

The server allows several of the same name, and has no call that changes one: a schedule is replaced by another.
"""

import dataclasses
import enum
import hashlib
import itertools
import json
import time
from typing import Any, Callable, Collection, Optional, TypeAlias, Union

import kfp
import kfp_server_api

from cluster import paging
from cluster.connection import ServerError
from cluster.cron import Cron
from core.errors import UserError

RecurringRun: TypeAlias = kfp_server_api.V2beta1RecurringRun
ENABLED = kfp_server_api.RecurringRunMode.ENABLE

_FINAL_STATES = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")

# Between attempts of an idempotent call: seconds, as long as a proxy or a server takes to restart.
PAUSES_S = (1.0, 3.0, 9.0)


class Outcome(enum.Enum):
    """What was done with a schedule; the values are shown."""

    UNCHANGED = "exists and is unchanged"
    RESUMED = "existed but was off, and is on again"
    CREATED = "created"
    REPLACED = "replaces the previous one"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A schedule as it should be.

    Attributes:
      name: its only one.
      trigger: cron, or an interval in seconds.
      experiment_id: of the experiment that its runs belong to.
      pipeline_id: of the uploaded pipeline.
      version_id: of the uploaded version.
      parameters: name -> value, of those that differ from the pipeline's defaults.
      pipeline_root: where artifacts are written; None is the cluster's default.
      service_account: of its runs; None is the cluster's default.
      catch_up: whether missed times are made up for.
      max_concurrency: how many of its runs may run at the same time, 1 to 10.
    """

    name: str
    trigger: Union[Cron, int]
    experiment_id: str
    pipeline_id: str
    version_id: str
    parameters: dict[str, Any]
    pipeline_root: Optional[str]
    service_account: Optional[str]
    catch_up: bool
    max_concurrency: int

    @property
    def when(self) -> Union[str, int]:
        """A cron expression, or seconds, as the server takes them."""
        return self.trigger.expression if isinstance(self.trigger, Cron) else self.trigger

    @property
    def description(self) -> str:
        """Identifies the settings: in what the server returns, its own defaults are filled in."""
        settings = json.dumps({**dataclasses.asdict(self), "trigger": self.when}, sort_keys=True)
        return f"kubeflow_runner.py schedule {hashlib.sha256(settings.encode()).hexdigest()}"


def find(client: kfp.Client, name: str) -> list[RecurringRun]:
    """Returns all schedules of a name in the namespace."""
    namespace = client.get_user_namespace() or None
    return list(
        paging.list_all(
            client.list_recurring_runs, "recurring_runs", namespace=namespace, filter=paging.name_filter(name)
        )
    )


def is_on(schedule: RecurringRun) -> bool:
    """Whether a schedule starts runs."""
    return schedule.mode == ENABLED


def apply(client: kfp.Client, wanted: Schedule) -> tuple[Outcome, list[RecurringRun]]:
    """Makes a schedule the only active one of its name.

    Returns:
      What was done, and older ones that are off but had to stay because they have an active run.

    Raises:
      UserError: one of the name is active in another experiment, or a request failed; what was active before still is,
        or the message says that nothing is.
    """
    found = find(client, wanted.name)
    for one in found:
        if one.experiment_id != wanted.experiment_id and is_on(one):
            raise UserError(
                f"schedule {wanted.name}: already active in another experiment ({one.experiment_id}); unschedule it "
                "there (kubeflow.experiment), or choose another name"
            )
    found = [one for one in found if one.experiment_id == wanted.experiment_id]
    same = sorted((one for one in found if one.description == wanted.description), key=is_on)
    active = [one for one in found if is_on(one)]
    kept = same[-1] if same else _create(client, wanted, enabled=not active)
    others = [one for one in found if one.recurring_run_id != kept.recurring_run_id]
    outcome = _outcome(kept, created=not same, replaced=bool(others))
    if is_on(kept):
        # Duplicates, created by hand or by a crash: the one that stays is active already.
        stop(client, others)
    else:
        _switch(client, kept, [one for one in others if is_on(one)])
    return outcome, remove(client, others)


def remove(client: kfp.Client, schedules: Collection[RecurringRun]) -> list[RecurringRun]:
    """Deletes schedules that are off; returns those that have to stay until their runs have ended.

    With a schedule the cluster's garbage collection deletes its workflows, including active ones
    (kubeflow/pipelines#12573).
    """
    busy = [one for one in schedules if _has_active_run(client, one)]
    for one in schedules:
        if one not in busy:
            _retry_idempotent(client.delete_recurring_run, one)
    return busy


def stop(client: kfp.Client, schedules: Collection[RecurringRun]) -> None:
    """Switches schedules off."""
    for one in schedules:
        if is_on(one):
            _retry_idempotent(client.disable_recurring_run, one)


def _outcome(kept: RecurringRun, created: bool, replaced: bool) -> Outcome:
    if created:
        return Outcome.REPLACED if replaced else Outcome.CREATED
    return Outcome.UNCHANGED if is_on(kept) else Outcome.RESUMED


def _create(client: kfp.Client, schedule: Schedule, enabled: bool) -> RecurringRun:
    trigger = "cron_expression" if isinstance(schedule.when, str) else "interval_second"
    return client.create_recurring_run(
        experiment_id=schedule.experiment_id,
        job_name=schedule.name,
        description=schedule.description,
        **{trigger: schedule.when},
        max_concurrency=schedule.max_concurrency,
        no_catchup=not schedule.catch_up,
        params=schedule.parameters,
        pipeline_id=schedule.pipeline_id,
        version_id=schedule.version_id,
        enabled=enabled,
        pipeline_root=schedule.pipeline_root,
        service_account=schedule.service_account,
    )


def _switch(client: kfp.Client, new: RecurringRun, old: Collection[RecurringRun]) -> None:
    """Switches the old schedules off and the new one on.

    No call of the server changes two schedules, so for a moment both are on or both are off. They are both off: two
    runs at the same time would train on each other's checkpoints and push over each other, while a time within these
    milliseconds is only missed. A failure in that moment is undone: both calls are idempotent, so they are repeated if
    their answer was lost; if that does not help, or the user interrupts, the old schedule is switched on again. Only if
    this process or the server dies in that moment is the schedule left off, and the same command repairs it.
    """
    try:
        stop(client, old)
        _retry_idempotent(client.enable_recurring_run, new, may_be_gone=False)
    except BaseException as error:
        try:
            # First, as the new one may be on.
            _retry_idempotent(client.disable_recurring_run, new)
            for one in itertools.islice(old, 1):
                _retry_idempotent(client.enable_recurring_run, one, may_be_gone=False)
        except ServerError as second:
            raise UserError(
                f"{second}; schedule {new.display_name} may be off now: schedule it again as soon as the server answers"
            ) from error
        raise


def _retry_idempotent(call: Callable[..., Any], schedule: RecurringRun, may_be_gone: bool = True) -> None:
    """Makes an idempotent call, and repeats it if its answer is lost.

    Args:
      call: of the client, for one schedule.
      schedule: the schedule.
      may_be_gone: whether a missing schedule counts as success: a call whose answer was lost has deleted it.
    """
    for pause_s in (*PAUSES_S, None):
        try:
            call(recurring_run_id=schedule.recurring_run_id)
            return
        except ServerError as error:
            if error.status == 404 and may_be_gone:
                return
            if pause_s is None or (error.status is not None and error.status < 500):
                raise
            time.sleep(pause_s)


def _has_active_run(client: kfp.Client, schedule: RecurringRun) -> bool:
    # The server accepts a filter by schedule, but its database has another name for the column. No run is older than
    # its schedule.
    newer = itertools.takewhile(
        lambda run: run.created_at >= schedule.created_at, paging.list_runs(client, schedule.experiment_id)
    )
    return any(run.recurring_run_id == schedule.recurring_run_id and run.state not in _FINAL_STATES for run in newer)
