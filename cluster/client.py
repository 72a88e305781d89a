"""The commands of `kubeflow_runner.py` that need a cluster: submit, schedule, unschedule, runs."""

import contextlib
import datetime
import itertools
import os
from typing import Any, Iterator, Mapping, Optional, Union

import kfp
import kfp.client.client
import rich.console
import rich.text

from cluster import ascii_text, compiled_file, cron, outcomes, paging, schedules, tables, upload
from cluster.compiled_file import CompiledFile
from cluster.connection import ServerError, connect, suppress_output
from cluster.cron import Cron
from cluster.upload import UploadedVersion
from core import command_line, escape
from core.errors import UserError
from core.kubeflow_config import ROOT_SCHEMES, KubeflowConfig

# The server's limit.
_MAX_CONCURRENCY = 10

# In a pipe a row is one line, so that ids can be copied and searched.
_PIPE_COLUMNS = 1000


def submit(
    config: KubeflowConfig,
    file: str,
    *,
    parameters: Mapping[str, str],
    console: rich.console.Console,
    version: Optional[str] = None,
    name: Optional[str] = None,
) -> str:
    """Uploads a compiled file, unless it is on the server already, and starts a run of it.

    Args:
      config: the cluster.
      file: written by `compile`.
      parameters: name -> text of the run parameters that differ from the file's defaults.
      console: where progress is shown.
      version: name of the uploaded version; default: the first digits of the file's digest.
      name: name of the run; default: name of the pipeline and time.

    Returns:
      The run's id.

    Raises:
      UserError: the file, a parameter or the version is wrong, or a request failed.
    """
    compiled, values = _read(file, parameters)
    _check_names(config, version, name)
    root = _pipeline_root(config, compiled, values)
    client = connect(config)
    uploaded = _upload(client, compiled, version, console)
    with suppress_output():
        experiment = client.create_experiment(config.experiment)
    with suppress_output(), _warn_of_started_run(config):
        # Without enable_caching, here and in schedules: it has no effect on an uploaded version; the file sets it.
        run = client.run_pipeline(
            experiment_id=experiment.experiment_id,
            job_name=name or f"{compiled.name} {_now():%Y-%m-%d %H:%M:%S}",
            params=ascii_text.escape_values(values),
            pipeline_id=uploaded.pipeline_id,
            version_id=uploaded.id,
            pipeline_root=root,
            service_account=config.service_account,
        )
    _print(console, f"run {run.run_id}: {run.display_name}", f"{_ui(config)}/#/runs/details/{run.run_id}")
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
    """Uploads a compiled file, unless it is on the server already, and makes its schedule the active one of a name.

    Args:
      config: the cluster.
      file: written by `compile`.
      name: name of the schedule; an existing one of this name in the experiment is replaced if it differs.
      parameters: name -> text of the run parameters that differ from the file's defaults.
      console: where progress is shown.
      cron_expression: times of the runs, as for `cron.parse`; excludes `every`.
      every: interval between the runs, as for `cron.parse_interval`.
      catch_up: whether a run is started for each missed time.
      max_concurrency: maximum number of its runs at the same time, 1 to 10.
      version: name of the uploaded version; default: the first digits of the file's digest.

    Raises:
      UserError: the file, a parameter, the time or the version is wrong, or a request failed.
    """
    compiled, values = _read(file, parameters)
    _check_names(config, version, name)
    root = _pipeline_root(config, compiled, values)
    trigger = _trigger(cron_expression, every)
    if not 1 <= max_concurrency <= _MAX_CONCURRENCY:
        raise UserError(f"--max-concurrency {max_concurrency}: should be from 1 to {_MAX_CONCURRENCY}")
    if isinstance(trigger, Cron) and trigger.translated:
        _print(
            console, f"cron: {cron_expression} translated to {trigger.expression} (Kubeflow's cron starts with seconds)"
        )
    client = connect(config)
    uploaded = _upload(client, compiled, version, console)
    with suppress_output():
        experiment = client.create_experiment(config.experiment)
    wanted = schedules.Schedule(
        name=name,
        trigger=trigger,
        experiment_id=experiment.experiment_id,
        pipeline_id=uploaded.pipeline_id,
        version_id=uploaded.id,
        parameters=ascii_text.escape_values(values),
        pipeline_root=root,
        service_account=config.service_account,
        catch_up=catch_up,
        max_concurrency=max_concurrency,
    )
    outcome, busy = schedules.apply(client, wanted)
    _print(console, f"schedule {name}: {outcome.value}", f"runs {tables.format_trigger(wanted.when)}", *_next(trigger))
    _print_busy(console, busy)


def unschedule(config: KubeflowConfig, *, name: str, console: rich.console.Console) -> None:
    """Removes all schedules of a name from the experiment.

    A schedule with an active run is only switched off, because its removal would end the run.

    Raises:
      UserError: there is no such schedule, or a request failed.
    """
    client = connect(config)
    experiment_id = _experiment_id(client, config)
    matches = [match for match in schedules.find(client, name) if match.experiment_id == experiment_id]
    if not matches:
        raise UserError(
            f"schedule {name}: not found in experiment {config.experiment} of {config.host}; `runs` lists the schedules"
        )
    schedules.stop(client, matches)
    busy = schedules.remove(client, matches)
    if len(busy) < len(matches):
        _print(console, f"schedule {name} removed")
    _print_busy(console, busy)


def runs(config: KubeflowConfig, *, limit: int, console: rich.console.Console, as_json: bool = False) -> None:
    """Prints the experiment's newest runs with their outcomes, and its schedules.

    Args:
      config: the cluster.
      limit: maximum number of runs, and of schedules.
      console: where to print.
      as_json: one JSON object per line instead of tables.

    Raises:
      UserError: the limit is not positive, or a request failed.
    """
    if limit < 1:
        raise UserError(f"--limit {limit}: should be 1 or more")
    client = connect(config)
    experiment_id = _experiment_id(client, config)
    if experiment_id is None:
        if not as_json:
            hint = "does not exist yet; submit and schedule create it"
            _print(console, f"{config.host}: experiment {config.experiment} {hint}")
        return
    existing = list(
        paging.list_all(
            client.list_recurring_runs, "recurring_runs", experiment_id=experiment_id, sort_by="created_at desc"
        )
    )
    newest = list(itertools.islice(paging.list_runs(client, experiment_id), limit))
    summaries = outcomes.read(client, config, newest)
    if as_json:
        command_line.print_json((tables.run_record(run, summaries.get(run.run_id)) for run in newest), console.file)
        command_line.print_json((tables.schedule_record(each, _now()) for each in existing[:limit]), console.file)
    else:
        if not console.is_terminal:
            console.width = _PIPE_COLUMNS
        console.print(tables.runs_table(newest, summaries, existing, _now()))
        console.print(tables.schedules_table(existing, limit, _now()))


def _upload(
    client: kfp.Client, compiled: CompiledFile, name: Optional[str], console: rich.console.Console
) -> UploadedVersion:
    version = upload.upload(client, compiled, name)
    status = "uploaded" if version.new else "already uploaded"
    _print(console, f"pipeline {compiled.name}, version {version.name}: {status}")
    return version


def _read(file: str, parameters: Mapping[str, str]) -> tuple[CompiledFile, dict[str, Any]]:
    """Returns a compiled file and the values of run parameters, checked for a cluster."""
    compiled = compiled_file.read(file)
    values = compiled.parse_parameters(parameters)
    compiled.check_locations(values)
    return compiled, values


@contextlib.contextmanager
def _warn_of_started_run(config: KubeflowConfig) -> Iterator[None]:
    """Adds to the error of a request for a run that the run may have started: the server starts it, then records it."""
    try:
        yield
    except ServerError as error:
        if error.status is not None and error.status < 500:
            raise
        raise UserError(
            f"{error}; the run may have started all the same: before you submit again, look for it with `runs`, and "
            f"with `kubectl get workflows -n {config.namespace} --sort-by=.metadata.creationTimestamp`, which also "
            f"lists one that the server does not know; `kubectl delete workflow -n {config.namespace} NAME` ends it"
        ) from error


def _check_names(config: KubeflowConfig, version: Optional[str], name: Optional[str]) -> None:
    """Raises UserError for a name that the server's connection to MySQL, three bytes per character, can't carry."""
    for what, text in (("kubeflow.experiment", config.experiment), ("--version", version), ("--name", name)):
        if text and max(text) > "\uffff":
            raise UserError(f"{what} {escape.quote(text)}: Kubeflow's database refuses {max(text)}; leave it out")


def _pipeline_root(config: KubeflowConfig, compiled: CompiledFile, values: Mapping[str, Any]) -> Optional[str]:
    """Returns the root of the artifacts; the backend reads it from the request, not from the parameter of that name."""
    root = values.get("pipeline_root") or compiled.defaults.get("pipeline_root") or config.pipeline_root
    if root and not root.startswith(ROOT_SCHEMES):
        raise UserError(
            f"pipeline_root: {escape.quote(root)}: should start with {', '.join(ROOT_SCHEMES[:-1])} or "
            f"{ROOT_SCHEMES[-1]}; the first task of each run would fail"
        )
    return root or None


def _trigger(cron_expression: Optional[str], every: Optional[str]) -> Union[Cron, int]:
    if cron_expression is not None and every is None:
        return cron.parse(cron_expression)
    if every is not None and cron_expression is None:
        return cron.parse_interval(every)
    raise UserError("schedule: give either a cron expression, such as '0 0 2 * * *', or an interval, such as 6h")


def _experiment_id(client: kfp.Client, config: KubeflowConfig) -> Optional[str]:
    """Returns the experiment's id, None if it does not exist."""
    matches = paging.list_all(client.list_experiments, "experiments", filter=paging.name_filter(config.experiment))
    return next((experiment.experiment_id for experiment in matches), None)


def _next(trigger: Union[Cron, int]) -> list[str]:
    """Returns a line with the next run, which shows whether the cron expression was read as intended."""
    return [f"next: {tables.format_time(trigger.next_after(_now()))} UTC"] if isinstance(trigger, Cron) else []


def _print_busy(console: rich.console.Console, busy: list[schedules.RecurringRun]) -> None:
    for existing in busy:
        _print(
            console,
            f"schedule {existing.display_name} ({existing.recurring_run_id}): off, but not removed yet, since that "
            "would end its active run; repeat the command after that run",
        )


def _ui(config: KubeflowConfig) -> str:
    """Returns the address of the UI, which may differ from that of the API."""
    return os.environ.get(kfp.client.client.KF_PIPELINES_UI_ENDPOINT_ENV, config.host).rstrip("/")


def _print(console: rich.console.Console, *lines: str) -> None:
    """Prints lines. Names in them come from other users, so markup and control characters are shown as text."""
    console.print(rich.text.Text("\n".join(map(escape.line, lines))), soft_wrap=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
