"""What `kubeflow_runner.py` does with a cluster's server: submits, schedules, unschedules, lists."""

import datetime
import os
from typing import Any, Mapping, Optional, Union

import kfp
import kfp.client.client
import rich.console
import rich.text

from cluster import cron, listing, package, recurring, tables, upload
from cluster.connection import connect, hushed
from cluster.cron import Cron
from cluster.package import Package
from cluster.upload import Version
from core import escape
from core.errors import UserError
from core.kubeflow_config import ROOT_SCHEMES, KubeflowConfig

# What the server allows.
_MOST_CONCURRENT = 10


def submit(
    config: KubeflowConfig,
    file: str,
    *,
    parameters: Mapping[str, str],
    console: rich.console.Console,
    version: Optional[str] = None,
    name: Optional[str] = None,
) -> str:
    """Uploads a compiled file, unless it is there, and starts a run of it.

    Args:
      config: the cluster.
      file: what `compile` wrote.
      parameters: name -> text, of those that differ from the file's defaults.
      console: told what was done.
      version: the name of the uploaded version; by default digits of the content's digest.
      name: of the run; by default the pipeline's and the time.

    Returns:
      The run's id.

    Raises:
      UserError: the file, a parameter or the version is not right, or the server did not do it.
    """
    content = package.read(file)
    values = content.values(parameters)
    root = _pipeline_root(config, content, values)
    client = connect(config)
    uploaded = _upload(client, content, version, console)
    with hushed():
        experiment = client.create_experiment(config.experiment)
        # Without enable_caching, here and in schedules: it has no effect on an uploaded version, the file says it.
        run = client.run_pipeline(
            experiment_id=experiment.experiment_id,
            job_name=name or f"{content.name} {_now():%Y-%m-%d %H:%M:%S}",
            params=values,
            pipeline_id=uploaded.pipeline_id,
            version_id=uploaded.id,
            pipeline_root=root,
            service_account=config.service_account,
        )
    _say(console, f"run {run.run_id}: {run.display_name}", f"{_ui(config)}/#/runs/details/{run.run_id}")
    return run.run_id


def schedule(
    config: KubeflowConfig,
    file: str,
    *,
    name: str,
    parameters: Mapping[str, str],
    console: rich.console.Console,
    cron_expression: Optional[str] = None,
    every: Optional[str] = None,
    catch_up: bool = False,
    max_concurrency: int = 1,
    version: Optional[str] = None,
) -> None:
    """Uploads a compiled file, unless it is there, and sees to it that a schedule of it fires under a name.

    Args:
      config: the cluster.
      file: what `compile` wrote.
      name: of the schedule; one of that name in the experiment is replaced if it is not the same.
      parameters: name -> text, of those that differ from the file's defaults.
      console: told what was done.
      cron_expression: when it runs, as `cron.parse` has it; or
      every: how often, as `cron.parse_interval` has it.
      catch_up: whether times that were missed are made up for, one run each.
      max_concurrency: how many of its runs may go on at the same time, 1 to 10.
      version: the name of the uploaded version; by default digits of the content's digest.

    Raises:
      UserError: the file, a parameter, the time or the version is not right, or the server did not do it.
    """
    content = package.read(file)
    values = content.values(parameters)
    root = _pipeline_root(config, content, values)
    trigger = _trigger(cron_expression, every)
    if not 1 <= max_concurrency <= _MOST_CONCURRENT:
        raise UserError(f"max concurrency: {max_concurrency}: should be from 1 to {_MOST_CONCURRENT}")
    if isinstance(trigger, Cron) and trigger.translated:
        _say(console, f"cron: {cron_expression} begins with minutes, the server's with seconds: {trigger.expression}")
    client = connect(config)
    uploaded = _upload(client, content, version, console)
    with hushed():
        experiment = client.create_experiment(config.experiment)
    wanted = recurring.Schedule(
        name=name,
        trigger=trigger,
        experiment_id=experiment.experiment_id,
        pipeline_id=uploaded.pipeline_id,
        version_id=uploaded.id,
        parameters=values,
        pipeline_root=root,
        service_account=config.service_account,
        catch_up=catch_up,
        max_concurrency=max_concurrency,
    )
    outcome, busy = recurring.apply(client, wanted)
    _say(console, f"schedule {name} {outcome.value}", f"runs {tables.when(wanted.when)}", *_next(trigger))
    _say_busy(console, busy)


def unschedule(config: KubeflowConfig, *, name: str, console: rich.console.Console) -> None:
    """Removes all schedules of a name from the experiment.

    One whose run is under way is only switched off, as the run would end with it.

    Raises:
      UserError: there is none, or the server did not do it.
    """
    client = connect(config)
    experiment_id = _experiment_id(client, config)
    jobs = [job for job in recurring.find(client, name) if job.experiment_id == experiment_id]
    if not jobs:
        raise UserError(
            f"schedule {name}: there is none in experiment {config.experiment} of {config.host}; `runs` lists them"
        )
    recurring.stop(client, jobs)
    busy = recurring.remove(client, jobs)
    if len(busy) < len(jobs):
        _say(console, f"schedule {name} is removed")
    _say_busy(console, busy)


def runs(config: KubeflowConfig, *, limit: int, console: rich.console.Console) -> None:
    """Prints the experiment's newest runs and its schedules.

    Args:
      config: the cluster.
      limit: how many of each at most.
      console: where to.

    Raises:
      UserError: the limit is not positive, or the server did not answer.
    """
    if limit < 1:
        raise UserError(f"limit: {limit}: should be 1 or more")
    client = connect(config)
    experiment_id = _experiment_id(client, config)
    if experiment_id is None:
        _say(console, f"{config.host} has no experiment {config.experiment} yet; submit and schedule make it")
        return
    jobs = list(
        listing.pages(
            client.list_recurring_runs, "recurring_runs", experiment_id=experiment_id, sort_by="created_at desc"
        )
    )
    console.print(tables.of_runs(listing.runs(client, experiment_id), jobs, limit, _now()))
    console.print(tables.of_schedules(jobs, limit, _now()))


def _upload(client: kfp.Client, content: Package, name: Optional[str], console: rich.console.Console) -> Version:
    version = upload.upload(client, content, name)
    told = "uploaded" if version.new else "is there already"
    _say(console, f"pipeline {content.name}, version {version.name}: {told}")
    return version


def _pipeline_root(config: KubeflowConfig, content: Package, values: Mapping[str, Any]) -> Optional[str]:
    """Where the artifacts go: the backend reads it from the request alone, not from the parameter of that name."""
    declared = content.parameters.get("pipeline_root", {}).get("defaultValue")
    root = values.get("pipeline_root") or declared or config.pipeline_root
    if root and not root.startswith(ROOT_SCHEMES):
        raise UserError(
            f"pipeline_root: {escape.quote(root)}: should start with {', '.join(ROOT_SCHEMES[:-1])} or "
            f"{ROOT_SCHEMES[-1]}; the first task of each run would fail"
        )
    return root or None


def _trigger(cron_expression: Optional[str], every: Optional[str]) -> Union[Cron, int]:
    if (cron_expression is None) == (every is None):
        raise UserError("schedule: give either a cron expression, such as '0 0 2 * * *', or an interval, such as 6h")
    return cron.parse(cron_expression) if every is None else cron.parse_interval(every)


def _experiment_id(client: kfp.Client, config: KubeflowConfig) -> Optional[str]:
    """The experiment, unless nothing was ever run in it."""
    found = listing.pages(client.list_experiments, "experiments", filter=listing.called(config.experiment))
    return next((experiment.experiment_id for experiment in found), None)


def _next(trigger: Union[Cron, int]) -> list[str]:
    """The line that shows a person whether the expression was read as it was meant."""
    return [f"next: {tables.shown(trigger.next_after(_now()))} UTC"] if isinstance(trigger, Cron) else []


def _say_busy(console: rich.console.Console, busy: list[recurring.Job]) -> None:
    for job in busy:
        _say(
            console,
            f"{job.display_name} ({job.recurring_run_id}) is off, but stays until its run is over, which would end "
            "with it; the same command removes it then",
        )


def _ui(config: KubeflowConfig) -> str:
    """Where people look: the API may have an address of its own."""
    return os.environ.get(kfp.client.client.KF_PIPELINES_UI_ENDPOINT_ENV, config.host).rstrip("/")


def _say(console: rich.console.Console, *lines: str) -> None:
    """Names are anyone's: nothing in them is markup, or obeyed by the terminal."""
    console.print(rich.text.Text("\n".join(map(escape.line, lines))), soft_wrap=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
