"""Schedules on the server, which calls them recurring runs: one of a name fires, whatever happened before.

The server lets several have the same name, and has no call that changes one: a schedule is replaced by another.
"""

import dataclasses
import enum
import hashlib
import itertools
import json
import time
from typing import Any, Callable, Collection, Optional, Union

import kfp
import kfp_server_api

from cluster import listing
from cluster.connection import ServerError
from cluster.cron import Cron
from core.errors import UserError

Job = kfp_server_api.V2beta1RecurringRun
ENABLED = kfp_server_api.RecurringRunMode.ENABLE

# States of a run that is over.
_FINAL_STATES = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")

# Between attempts at a call that can't do harm twice: some seconds, as a proxy or a server needs that starts again.
PAUSES_S = (1.0, 3.0, 9.0)


class Outcome(enum.Enum):
    """What became of a schedule; the values say it."""

    UNCHANGED = "is there already and the same, so nothing was changed"
    RESUMED = "was there and the same, but off; it is on again"
    CREATED = "is new"
    REPLACED = "replaces the one that was there"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A schedule as it should be.

    Attributes:
      name: under which there is one.
      trigger: cron, or an interval in seconds.
      experiment_id: where its runs go.
      pipeline_id: of the uploaded pipeline.
      version_id: of the uploaded version.
      parameters: name -> value, of those that differ from the pipeline's defaults.
      pipeline_root: where artifacts go; None is the cluster's default.
      service_account: of its runs; None is the cluster's default.
      catch_up: whether times that were missed are made up for.
      max_concurrency: how many of its runs may go on at the same time, 1 to 10.
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
        """Tells schedules apart by what was asked for: the server fills in its own defaults where nothing was."""
        asked = json.dumps({**dataclasses.asdict(self), "trigger": self.when}, sort_keys=True)
        return f"kubeflow_runner.py schedule {hashlib.sha256(asked.encode()).hexdigest()}"


def find(client: kfp.Client, name: str) -> list[Job]:
    """Returns all schedules of a name in the namespace."""
    namespace = client.get_user_namespace() or None
    return list(
        listing.pages(client.list_recurring_runs, "recurring_runs", namespace=namespace, filter=listing.called(name))
    )


def is_on(job: Job) -> bool:
    """Whether a schedule starts runs."""
    return job.mode == ENABLED


def apply(client: kfp.Client, schedule: Schedule) -> tuple[Outcome, list[Job]]:
    """Makes a schedule the only one of its name that fires.

    Returns:
      What was done, and older ones that are off but had to stay because a run of theirs goes on.

    Raises:
      UserError: one of the name fires in another experiment, or the server did not do it; what fired before still does,
        or the message says that nothing does.
    """
    jobs = find(client, schedule.name)
    for job in jobs:
        if job.experiment_id != schedule.experiment_id and is_on(job):
            raise UserError(
                f"schedule {schedule.name}: there is one in another experiment ({job.experiment_id}); unschedule it "
                "with kubeflow.experiment set to that one, or give this one another name"
            )
    jobs = [job for job in jobs if job.experiment_id == schedule.experiment_id]
    same = sorted((job for job in jobs if job.description == schedule.description), key=is_on)
    firing = [job for job in jobs if is_on(job)]
    kept = same[-1] if same else _create(client, schedule, enabled=not firing)
    others = [job for job in jobs if job.recurring_run_id != kept.recurring_run_id]
    outcome = _outcome(kept, created=not same, replaced=bool(others))
    if is_on(kept):
        # Doubles, made by hand or by a crash: the one that stays fires already.
        for job in firing:
            if job in others:
                _insist(client.disable_recurring_run, job)
    else:
        _hand_over(client, kept, [job for job in others if is_on(job)])
    return outcome, remove(client, others)


def remove(client: kfp.Client, jobs: Collection[Job]) -> list[Job]:
    """Deletes schedules that are off; returns those that have to stay until their runs are over.

    With a schedule the cluster's garbage collection deletes its workflows, also those that are under way
    (kubeflow/pipelines#12573).
    """
    busy = [job for job in jobs if _has_active_run(client, job)]
    for job in jobs:
        if job not in busy:
            _insist(client.delete_recurring_run, job)
    return busy


def stop(client: kfp.Client, jobs: Collection[Job]) -> None:
    """Switches schedules off."""
    for job in jobs:
        if is_on(job):
            _insist(client.disable_recurring_run, job)


def _outcome(kept: Job, created: bool, replaced: bool) -> Outcome:
    if created:
        return Outcome.REPLACED if replaced else Outcome.CREATED
    return Outcome.UNCHANGED if is_on(kept) else Outcome.RESUMED


def _create(client: kfp.Client, schedule: Schedule, enabled: bool) -> Job:
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


def _hand_over(client: kfp.Client, new: Job, old: Collection[Job]) -> None:
    """Lets a schedule that is off fire in place of those that do.

    Until here the old one fires and the new one, complete and accepted by the server, is off; after it the reverse
    holds. No call of the server changes two schedules, so there is a moment between two calls with both on or both
    off, and it is both off: two runs at the same time would train on each other's checkpoints and push over each
    other, while a time that falls into these milliseconds is only missed. What can go wrong in the moment is undone:
    a call without an answer may have been carried out or not, and as both calls do no harm twice it is sent again; if
    that does not help, or a person interrupts, the old one is put on again. Only where this process or the server dies
    in that very moment is the schedule left off, and the same command mends it.
    """
    try:
        stop(client, old)
        _insist(client.enable_recurring_run, new, may_be_gone=False)
    except BaseException as error:
        try:
            # In this order, as the new one may be on.
            _insist(client.disable_recurring_run, new)
            for job in itertools.islice(old, 1):
                _insist(client.enable_recurring_run, job, may_be_gone=False)
        except ServerError as second:
            raise UserError(
                f"{second}; schedule {new.display_name} may be off now: schedule it again as soon as the server answers"
            ) from error
        raise


def _insist(call: Callable[..., Any], job: Job, may_be_gone: bool = True) -> None:
    """Makes a call that may be carried out twice, again where its answer was lost.

    Args:
      call: of the client, for one schedule.
      job: the schedule.
      may_be_gone: whether a schedule that does not exist is as good: deleted by a call whose answer was lost.
    """
    for pause_s in (*PAUSES_S, None):
        try:
            call(recurring_run_id=job.recurring_run_id)
            return
        except ServerError as error:
            if error.status == 404 and may_be_gone:
                return
            if pause_s is None or (error.status is not None and error.status < 500):
                raise
            time.sleep(pause_s)


def _has_active_run(client: kfp.Client, job: Job) -> bool:
    # The server takes a filter by schedule, but its database has another name for the column. No run is older than
    # its schedule.
    younger = itertools.takewhile(lambda run: run.created_at >= job.created_at, listing.runs(client, job.experiment_id))
    return any(run.recurring_run_id == job.recurring_run_id and run.state not in _FINAL_STATES for run in younger)
