"""Schedules on the server, which calls them recurring runs. Exactly one of a name is active, even after failures.

The server allows several schedules of the same name and has no call to change one, so a changed schedule replaces the
previous one.
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


# Pauses in seconds between attempts of an idempotent call, long enough for a proxy or a server to restart.
PAUSES_S = (1.0, 3.0, 9.0)


class Outcome(enum.Enum):
    """The result of `apply`; the values are shown to the user."""

    UNCHANGED = "exists and is unchanged"
    RESUMED = "existed but was off; switched on again"
    CREATED = "created"
    REPLACED = "replaces the previous one"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The settings of a schedule.

    Attributes:
      name: its name, which no other active schedule has.
      trigger: cron, or an interval in seconds.
      experiment_id: id of the experiment that its runs belong to.
      pipeline_id: id of the uploaded pipeline.
      version_id: id of the uploaded version.
      parameters: name -> value of the run parameters that differ from the pipeline's defaults.
      pipeline_root: where artifacts are written; None is the cluster's default.
      service_account: service account of its runs; None is the cluster's default.
      catch_up: whether a run is started for each missed time.
      max_concurrency: maximum number of its runs at the same time, 1 to 10.
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
        """A cron expression, or an interval in seconds, in the server's form."""
        return self.trigger.expression if isinstance(self.trigger, Cron) else self.trigger

    @property
    def description(self) -> str:
        """Identifies the settings; those that the server returns are not comparable, since it fills in defaults."""
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
      The outcome, and older schedules that are off but can't be removed yet, because they have an active run.

    Raises:
      UserError: a schedule of the name is active in another experiment, or a request failed. The previously active
        schedule still is, unless the message reports that it may be off.
    """
    existing = find(client, wanted.name)
    for schedule in existing:
        if schedule.experiment_id != wanted.experiment_id and is_on(schedule):
            raise UserError(
                f"schedule {wanted.name}: already active in another experiment ({schedule.experiment_id}); unschedule "
                "it there (kubeflow.experiment), or choose another name"
            )
    existing = [schedule for schedule in existing if schedule.experiment_id == wanted.experiment_id]
    same = sorted((schedule for schedule in existing if schedule.description == wanted.description), key=is_on)
    active = [schedule for schedule in existing if is_on(schedule)]
    kept = same[-1] if same else _create(client, wanted, enabled=not active)
    others = [schedule for schedule in existing if schedule.recurring_run_id != kept.recurring_run_id]
    outcome = _outcome(kept, created=not same, replaced=bool(others))
    if is_on(kept):
        # The others are duplicates, created by hand or by a crash.
        stop(client, others)
    else:
        _switch(client, kept, [schedule for schedule in others if is_on(schedule)])
    return outcome, remove(client, others)


def remove(client: kfp.Client, schedules: Collection[RecurringRun]) -> list[RecurringRun]:
    """Deletes schedules that are off; returns those that can't be deleted until their runs have finished.

    When a schedule is deleted, the cluster's garbage collection deletes its workflows too, including active ones
    (kubeflow/pipelines#12573).
    """
    busy = [schedule for schedule in schedules if _has_active_run(client, schedule)]
    for schedule in schedules:
        if schedule not in busy:
            _retry_idempotent(client.delete_recurring_run, schedule)
    return busy


def stop(client: kfp.Client, schedules: Collection[RecurringRun]) -> None:
    """Switches schedules off."""
    for schedule in schedules:
        if is_on(schedule):
            _retry_idempotent(client.disable_recurring_run, schedule)


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

    No call of the server changes two schedules, so for a moment both are on or both are off. Here both are off, which
    at worst skips a time within these milliseconds. If both were on, two runs could train and
    push at the same time. Both calls are idempotent, so they are repeated if their response is lost. If that fails
    too, or the user interrupts, the old schedule is switched on again. Only if this process or the server dies in that
    moment does the schedule stay off; the same command repairs it.
    """
    try:
        stop(client, old)
        _retry_idempotent(client.enable_recurring_run, new, may_be_gone=False)
    except BaseException as error:
        try:
            # First, because the new one may be on.
            _retry_idempotent(client.disable_recurring_run, new)
            for schedule in itertools.islice(old, 1):
                _retry_idempotent(client.enable_recurring_run, schedule, may_be_gone=False)
        except ServerError as second:
            raise UserError(
                f"{second}; schedule {new.display_name} may be off now: schedule it again when the server responds"
            ) from error
        raise


def _retry_idempotent(call: Callable[..., Any], schedule: RecurringRun, may_be_gone: bool = True) -> None:
    """Makes an idempotent call, and repeats it if its response is lost.

    Args:
      call: method of the client for one schedule.
      schedule: the schedule.
      may_be_gone: whether a missing schedule counts as success: an earlier call whose response was lost may have
        deleted it.
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
    # A filter by schedule fails, because the server's database has a different name for the column. No run is older
    # than its schedule.
    newer = itertools.takewhile(
        lambda run: run.created_at >= schedule.created_at, paging.list_runs(client, schedule.experiment_id)
    )
    return any(run.recurring_run_id == schedule.recurring_run_id and run.state not in paging.FINISHED for run in newer)
