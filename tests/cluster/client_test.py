import io
import json
import socket

import kfp
import pytest
import rich.console
import urllib3
import yaml

from cluster import client, schedules
from cluster.connection import connect
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig
from tests.cluster import fake_backend

NIGHTLY = {"name": "nightly", "cron_expression": "0 0 2 * * *"}


def documents(**changes):
    spec = {
        "pipelineInfo": {"name": "reviews"},
        "schemaVersion": "2.1.0",
        "root": {
            "inputDefinitions": {
                "parameters": {
                    "train": {"parameterType": "STRING", "defaultValue": "/mnt/train.tsv"},
                    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 5},
                    "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5},
                    "fast": {"parameterType": "BOOLEAN", "defaultValue": False},
                    "pipeline_root": {"parameterType": "STRING", "defaultValue": ""},
                }
            },
            "dag": {"tasks": {"one": {"taskInfo": {"name": "one"}, "componentRef": {"name": "one"}}}},
        },
        "components": {"one": {"executorLabel": "one_executor"}},
        "deploymentSpec": {"executors": {"one_executor": {"container": {"image": "registry.example.com/a:1"}}}},
        **changes,
    }
    nodes = {"one_executor": {"nodeSelector": {"labels": {"gpu": "yes"}}}}
    return [spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": nodes}}}}]


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        path = tmp_path / "reviews.yaml"
        path.write_text(yaml.safe_dump_all(documents(**changes)))
        return str(path)

    return write


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr(schedules, "PAUSES_S", (0.0,))
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    with fake_backend.running() as server:
        yield server


@pytest.fixture
def config(server):
    return configured(server)


def configured(server, **values):
    return KubeflowConfig(image="registry.example.com/a:1", work_dir="/mnt/work", host=server.url, **values)


class Console(rich.console.Console):
    """Keeps its output."""

    def __init__(self):
        super().__init__(file=io.StringIO(), width=200)

    @property
    def text(self):
        return self.file.getvalue()


def submitted(config, file, parameters=None, **options):
    console = Console()
    run_id = client.submit(config, file, parameters=parameters or {}, console=console, **options)
    return run_id, console.text


def scheduled(config, file, parameters=None, **options):
    console = Console()
    client.schedule(config, file, parameters=parameters or {}, console=console, **{**NIGHTLY, **options})
    return console.text


def unscheduled(config, name="nightly"):
    console = Console()
    client.unschedule(config, name=name, console=console)
    return console.text


def listed(config, limit=10, as_json=False):
    console = Console()
    client.runs(config, limit=limit, console=console, as_json=as_json)
    return console.text


def only(table):
    (item,) = table.values()
    return item


def test_submit_starts_a_run_of_an_uploaded_version(server, write, capsys):
    config = configured(server, pipeline_root="minio://bucket/root", service_account="runner", experiment="tests")
    run_id, output = submitted(config, write(), {"train": "/mnt/other.tsv", "epochs": "3", "rate": "1", "fast": "true"})
    run = server.backend.runs[run_id]
    assert run["runtime_config"] == {
        "pipeline_root": "minio://bucket/root",
        "parameters": {"train": "/mnt/other.tsv", "epochs": 3, "rate": 1.0, "fast": True},
    }
    assert run["service_account"] == "runner"
    assert server.backend.experiments[run["experiment_id"]]["display_name"] == "tests"
    version = server.backend.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert len(version["display_name"]) == 12 and version["description"].startswith("sha256:" + version["display_name"])
    # The platform document was uploaded too.
    assert version["documents"][1] == documents()[1]
    assert f"{server.url}/#/runs/details/{run_id}" in output
    assert capsys.readouterr() == ("", "")


def test_the_same_file_is_uploaded_once_and_another_is_another_version(server, config, write):
    submitted(config, write())
    versions = set(server.backend.versions)
    _, output = submitted(config, write())
    assert set(server.backend.versions) == versions and "already uploaded" in output
    submitted(config, write(components={"one": {"executorLabel": "one_executor", "outputDefinitions": {}}}))
    assert len(server.backend.versions) == len(versions) + 1
    assert only(server.backend.pipelines)["display_name"] == "reviews"
    assert len(server.backend.runs) == 3


def test_a_named_version_is_reused_only_for_the_same_content(server, config, write):
    submitted(config, write(), version="1.0")
    submitted(config, write(), version="1.0")
    with pytest.raises(UserError, match="version 1.0: exists .* with another content"):
        submitted(
            config, write(components={"one": {"executorLabel": "one_executor", "outputDefinitions": {}}}), version="1.0"
        )
    assert len(server.backend.runs) == 2


def test_the_root_parameter_reaches_the_backend_as_its_own(server, config, write):
    run_id, _ = submitted(config, write(), {"pipeline_root": "s3://bucket/root"})
    assert server.backend.runs[run_id]["runtime_config"]["pipeline_root"] == "s3://bucket/root"
    with pytest.raises(UserError, match="pipeline_root: '/mnt/root': should start with minio://"):
        submitted(config, write(), {"pipeline_root": "/mnt/root"})


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"epoch": "3"}, "parameter epoch: no such parameter in .*; it has epochs, fast, "),
        ({"epochs": "many"}, "parameter epochs: 'many': should be an integer"),
        ({"epochs": "1.5"}, "parameter epochs: '1.5': should be an integer"),
        ({"rate": "fast"}, "parameter rate: 'fast': should be a number"),
        ({"fast": "1"}, "parameter fast: '1': should be true or false"),
        (
            {"train": "/mnt/[[ScheduledTime.20060102]].tsv"},
            r"parameter train: \[\[ScheduledTime.20060102\]\]: .*macros",
        ),
        ({"train": "[[Index]]"}, "macros"),
    ],
)
def test_wrong_parameters_are_refused_before_any_request(server, config, write, parameters, sentence):
    for command in (submitted, scheduled):
        with pytest.raises(UserError, match=sentence):
            command(config, write(), parameters)
    assert server.requests == []


def test_letters_of_a_parameter_are_escaped_for_the_servers_database(server, config, write):
    for command in (submitted, scheduled):
        command(config, write(), {"train": "/mnt/영화 😀.tsv"})
    for made in (only(server.backend.runs), only(server.backend.jobs)):
        assert made["runtime_config"]["parameters"] == {"train": r"/mnt/\uc601\ud654 \ud83d\ude00.tsv"}


@pytest.mark.parametrize("option", [{"name": "run 😀"}, {"version": "😀"}])
def test_a_name_that_no_database_of_the_server_can_hold_is_refused(server, config, write, option):
    with pytest.raises(UserError, match="--(name|version) '.*😀': Kubeflow's database refuses 😀"):
        submitted(config, write(), **option)
    assert server.requests == []
    run_id, _ = submitted(config, write(), name="영화")
    assert server.backend.runs[run_id]["display_name"] == "영화"


def test_a_server_error_after_a_submission_says_that_a_run_may_exist(server, config, write, monkeypatch):
    monkeypatch.setattr(client, "_check_names", lambda *_: None)
    with pytest.raises(UserError, match="500: .*Incorrect string value.*may have started.*kubectl get workflows"):
        submitted(config, write(), name="run 😀")
    assert server.backend.runs == {} and len(server.backend.workflows) == 1
    calls = count_calls(server, lambda: submitted(config, write()))
    server.forget()
    server.lose = {calls - 1: "after"}
    with pytest.raises(UserError, match="connection lost.*kubectl get workflows -n kubeflow"):
        submitted(config, write())
    server.forget()
    server.refuse = {("POST", "/runs"): 403}
    with pytest.raises(UserError) as caught:
        submitted(config, write())
    assert "workflows" not in str(caught.value)


def test_a_parameter_without_a_default_is_required(server, config, write):
    root = documents()[0]["root"]
    del root["inputDefinitions"]["parameters"]["train"]["defaultValue"]
    with pytest.raises(UserError, match="parameter train: missing"):
        submitted(config, write(root=root))
    submitted(config, write(root=root), {"train": "/mnt/train.tsv"})


def test_a_file_that_no_cluster_could_run_is_not_uploaded(server, config, write):
    resolver = {"executors": {"one_executor": {"resolver": {}}}}
    for command in (submitted, scheduled):
        with pytest.raises(UserError, match="Resolver"):
            command(config, write(deploymentSpec=resolver))
    assert server.requests == []


def test_schedule_creates_an_active_one(server, write):
    config = configured(server, pipeline_root="gs://bucket/root", service_account="runner")
    output = scheduled(config, write(), {"epochs": "3"})
    job = only(server.backend.jobs)
    assert job["mode"] == "ENABLE" and job["display_name"] == "nightly"
    assert job["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert job["runtime_config"] == {"pipeline_root": "gs://bucket/root", "parameters": {"epochs": 3}}
    assert (job["max_concurrency"], job["no_catchup"], job["service_account"]) == ("1", True, "runner")
    assert "schedule nightly: created" in output and "02:00:00 UTC" in output


def test_five_fields_are_translated_with_a_message(server, config, write):
    output = scheduled(config, write(), cron_expression="0 2 * * *")
    assert only(server.backend.jobs)["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert "0 2 * * * translated to 0 0 2 * * *" in output


def test_an_interval_and_its_policies(server, config, write):
    scheduled(config, write(), cron_expression=None, every="6h", catch_up=True, max_concurrency=3)
    job = only(server.backend.jobs)
    assert job["trigger"] == {"periodic_schedule": {"interval_second": "21600"}}
    assert (job["max_concurrency"], job["no_catchup"]) == ("3", False)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cron_expression": "0 2 * *"}, "'0 0 2 \\* \\* \\*'"),
        ({"cron_expression": None}, "give either"),
        ({"every": "6h"}, "give either"),
        ({"max_concurrency": 0}, "from 1 to 10"),
        ({"max_concurrency": 11}, "from 1 to 10"),
    ],
)
def test_a_wrong_time_is_refused_before_any_request(server, config, write, options, sentence):
    with pytest.raises(UserError, match=sentence):
        scheduled(config, write(), **options)
    assert server.requests == []


def test_scheduling_the_same_again_changes_nothing(server, config, write):
    scheduled(config, write(), {"epochs": "3"})
    before = dict(server.backend.jobs)
    server.forget()
    assert "exists and is unchanged" in scheduled(config, write(), {"epochs": "3"}, cron_expression="0 2 * * *")
    assert server.backend.jobs == before
    assert {method for method, _ in server.requests} == {"GET"}


@pytest.mark.parametrize(
    ("config_values", "parameters", "options"),
    [
        ({}, {}, {"cron_expression": "0 0 3 * * *"}),
        ({}, {}, {"cron_expression": None, "every": "1d"}),
        ({}, {"epochs": "4"}, {}),
        ({}, {}, {"max_concurrency": 2}),
        ({}, {}, {"catch_up": True}),
        ({"service_account": "runner"}, {}, {}),
        ({"pipeline_root": "s3://bucket/root"}, {}, {}),
    ],
)
def test_scheduling_something_else_under_the_name_replaces_it(
    server, config, write, config_values, parameters, options
):
    scheduled(config, write())
    old = only(server.backend.jobs)
    output = scheduled(configured(server, **config_values), write(), parameters, **options)
    assert only(server.backend.jobs) == only(
        {job["recurring_run_id"]: job for job in server.backend.enabled("nightly")}
    )
    assert only(server.backend.jobs) != old
    assert "replaces" in output


def test_another_file_replaces_the_schedule(server, config, write):
    scheduled(config, write())
    scheduled(config, write(components={"one": {"executorLabel": "one_executor", "outputDefinitions": {}}}))
    job = only(server.backend.jobs)
    newest = list(server.backend.versions)[-1]
    assert job["pipeline_version_reference"]["pipeline_version_id"] == newest


def test_duplicates_are_reduced_to_one(server, config, write):
    scheduled(config, write())
    job = only(server.backend.jobs)
    for number in range(3):
        server.backend.jobs[f"double-{number}"] = {**job, "recurring_run_id": f"double-{number}"}
    server.backend.largest_page = 2
    scheduled(config, write())
    assert len(server.backend.jobs) == 1 and len(server.backend.enabled("nightly")) == 1


def test_a_schedule_that_is_off_is_switched_on_again(server, config, write):
    scheduled(config, write())
    only(server.backend.jobs)["mode"] = "DISABLE"
    assert "switched on again" in scheduled(config, write())
    assert len(server.backend.enabled("nightly")) == 1


def test_an_active_run_survives_its_schedule(server, config, write):
    scheduled(config, write())
    old = only(server.backend.jobs)
    run = server.backend.fire(old)
    output = scheduled(config, write(), {"epochs": "4"})
    assert run["state"] == "RUNNING" and old["mode"] == "DISABLE"
    assert "not removed yet" in output
    run["state"] = "SUCCEEDED"
    scheduled(config, write(), {"epochs": "4"})
    assert only(server.backend.jobs)["recurring_run_id"] != old["recurring_run_id"]


def test_a_schedule_of_another_experiment_is_not_touched(server, write):
    scheduled(configured(server, experiment="theirs"), write())
    with pytest.raises(UserError, match="active in another experiment"):
        scheduled(configured(server, experiment="ours"), write())
    with pytest.raises(UserError, match="schedule nightly: not found in experiment ours"):
        unscheduled(configured(server, experiment="ours"))
    assert len(server.backend.enabled("nightly")) == 1


def test_unschedule_removes_all_schedules_of_the_name(server, config, write):
    scheduled(config, write())
    scheduled(config, write(), name="weekly")
    job = next(iter(server.backend.jobs.values()))
    server.backend.jobs["double"] = {**job, "recurring_run_id": "double"}
    assert "schedule nightly removed" in unscheduled(config)
    assert only(server.backend.jobs)["display_name"] == "weekly"
    with pytest.raises(UserError, match="schedule nightly: not found in experiment reviews"):
        unscheduled(config)


def test_unschedule_lets_an_active_run_finish(server, config, write):
    scheduled(config, write())
    run = server.backend.fire(only(server.backend.jobs))
    output = unscheduled(config)
    assert run["state"] == "RUNNING" and server.backend.enabled("nightly") == []
    assert "not removed yet" in output and "nightly removed" not in output
    run["state"] = "FAILED"
    unscheduled(config)
    assert server.backend.jobs == {}


def test_runs_lists_the_newest_and_the_schedules(server, config, write):
    scheduled(config, write())
    scheduled(config, write(), name="often", cron_expression=None, every="90m", max_concurrency=2)
    # Another client's, with five fields.
    job = next(iter(server.backend.jobs.values()))
    trap = {**job, "recurring_run_id": "trap", "display_name": "trap", "mode": "ENABLE"}
    server.backend.jobs["trap"] = {**trap, "trigger": {"cron_schedule": {"cron": "0 2 * * *"}}}
    for number in range(3):
        submitted(config, write(), name=f"[bold]run {number}\x1b[31m")
    run = server.backend.fire(job)
    run.update(state="SUCCEEDED", finished_at=run["created_at"].replace("2024-01-01T00", "2024-01-01T02"))
    output = listed(config, limit=3)
    lines = output.splitlines()
    assert [line.split()[0] for line in lines if "SUCCEEDED" in line or "PENDING" in line] == [
        "nightly-run",
        "[bold]run",
        "[bold]run",
    ]
    assert any("SUCCEEDED" in line and "2h" in line and line.rstrip().endswith("nightly") for line in lines)
    assert any("PENDING" in line and r"\x1b[31m" in line for line in lines)
    assert any("often" in line and "every 1h 30m" in line and " 2 " in line for line in lines)
    assert any("nightly" in line and "at 0 0 2 * * *" in line and "02:00:00" in line for line in lines)
    # As the server reads it: each hour, at minute 2.
    assert any("trap" in line and ":02:00" in line and " on " in line for line in lines)


def test_runs_as_json_are_one_object_per_line(server, config, write):
    scheduled(config, write())
    scheduled(config, write(), name="often", cron_expression=None, every="90m", max_concurrency=2)
    for number in range(3):
        submitted(config, write(), name=f"run {number}\x9b31m")
    lines = listed(config, limit=2, as_json=True).splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["name"] for record in records if record["kind"] == "run"] == ["run 2\x9b31m", "run 1\x9b31m"]
    assert "\x9b" not in "".join(lines)
    every, nightly = sorted(
        (r for r in records if r["kind"] == "schedule"), key=lambda record: record["name"] != "often"
    )
    assert (every["name"], every["every_s"], every["cron"], every["next_at"]) == ("often", 5400, None, None)
    assert every["max_concurrency"] == 2 and every["on"]
    assert nightly["cron"] and nightly["next_at"].endswith("+00:00")


CHECK = {"gate": "model", "check": "accuracy", "passed": False, "value": 0.5, "bound": 0.6, "reason": "low"}
# Name -> summary, its words, its reason.
SUMMARIES = {
    "pushed": ({"status": "pushed", "pushed_path": "/mnt/serving/17"}, "pushed to /mnt/serving/17", ""),
    "bad": ({"status": "not_blessed", "gates": [CHECK]}, "not blessed, nothing was pushed: low", "low"),
    "gate": ({"status": "stopped", "error": "data-gate: empty"}, "stopped: data-gate: empty", "data-gate: empty"),
}


def finish(server, run_id, summary, state="SUCCEEDED", root="v2/artifacts"):
    server.backend.runs[run_id].update(state=state)
    server.backend.objects["mlpipeline", f"{root}/reviews/{run_id}/summary.json"] = summary


def test_runs_say_what_became_of_each(server, config, write):
    for name, (summary, _, _) in SUMMARIES.items():
        run_id, _ = submitted(config, write(), name=name)
        finish(server, run_id, summary)
    submitted(config, write(), name="running")
    lost, _ = submitted(config, write(), name="lost")
    server.backend.runs[lost].update(state="FAILED")
    lines = listed(config).splitlines()
    for name, (_, sentence, _) in SUMMARIES.items():
        assert any(line.split()[:1] == [name] and line.rstrip().endswith(sentence) for line in lines), lines
    records = {record["name"]: record for record in map(json.loads, listed(config, as_json=True).splitlines())}
    for name, (summary, _, reason) in SUMMARIES.items():
        record = records[name]
        assert (record["status"], record["reason"], record["pushed_path"]) == (
            summary["status"],
            reason,
            summary.get("pushed_path"),
        )
    assert records["running"]["status"] is records["lost"]["status"] is None


def test_the_summary_is_looked_for_under_the_runs_own_root(server, config, write):
    run_id, _ = submitted(config, write(), {"pipeline_root": "minio://mlpipeline/mine"}, name="own")
    finish(server, run_id, SUMMARIES["pushed"][0], root="mine")
    assert "pushed to /mnt/serving/17" in listed(config)


def test_a_run_with_a_root_in_another_store_only_lacks_its_outcome(server, config, write):
    run_id, _ = submitted(config, write(), name="done")
    server.backend.runs[run_id].update(state="SUCCEEDED")
    server.backend.runs[run_id]["runtime_config"]["pipeline_root"] = "/mnt/artifacts"
    assert "SUCCEEDED" in listed(config)


def test_a_host_that_is_not_the_ui_only_lacks_the_outcomes(server, config, write):
    run_id, _ = submitted(config, write(), name="done")
    server.backend.runs[run_id].update(state="SUCCEEDED")
    server.refuse = {("GET", "/artifacts/get"): 404}
    assert "SUCCEEDED" in listed(config)


def test_ids_are_whole_in_a_pipe_and_on_a_narrow_terminal(server, config, write):
    run_id, _ = submitted(config, write(), name="a name of a run that does not fit beside its id")
    server.backend.runs["0b9d2f3c-0000-4000-8000-123456789012"] = {
        **server.backend.runs.pop(run_id),
        "run_id": "0b9d2f3c-0000-4000-8000-123456789012",
    }
    for is_terminal in (False, True):
        console = rich.console.Console(file=io.StringIO(), width=80, force_terminal=is_terminal)
        client.runs(config, limit=10, console=console)
        assert "0b9d2f3c-0000-4000-8000-123456789012" in console.file.getvalue()
    console = rich.console.Console(file=io.StringIO(), width=80)
    client.runs(config, limit=10, console=console)
    assert "a name of a run that does not fit beside its id" in console.file.getvalue()


def test_runs_of_an_experiment_that_does_not_exist_yet(config):
    assert "experiment reviews does not exist yet" in listed(config)
    assert listed(config, as_json=True) == ""
    with pytest.raises(UserError, match="--limit 0"):
        listed(config, limit=0)


def test_many_runs_and_schedules_come_in_pages(server, config, write):
    server.backend.largest_page = 2
    for number in range(5):
        scheduled(config, write(), name=f"job-{number}")
        submitted(config, write(), name=f"run-{number}")
    output = listed(config)
    assert all(f"job-{number}" in output and f"run-{number}" in output for number in range(5))


def count_calls(server, command):
    server.forget()
    command()
    return len(server.requests)


@pytest.mark.parametrize("when", ["before", "after"])
def test_any_lost_call_of_a_reschedule_leaves_an_active_one(write, server, config, when):
    """Whichever call was lost, before or after it was carried out, once the command ends or is repeated."""
    scheduled(config, write())
    calls = count_calls(server, lambda: scheduled(config, write(), {"epochs": "2"}))
    for lost in range(calls):
        epochs = str(10 + lost)
        server.forget()
        server.lose = {lost: when}
        try:
            scheduled(config, write(), {"epochs": epochs})
        except UserError as error:
            assert server.url in str(error)
            # These are idempotent, so they were repeated.
            method, path = server.requests[lost]
            assert method != "DELETE" and not path.endswith((":enable", ":disable"))
        assert len(server.backend.enabled("nightly")) == 1, f"call {lost} lost {when}"
        server.forget()
        scheduled(config, write(), {"epochs": epochs})
        assert only(server.backend.jobs)["mode"] == "ENABLE"
        assert only(server.backend.jobs)["runtime_config"]["parameters"] == {"epochs": int(epochs)}


def test_a_server_that_stays_away_never_leaves_two_and_none_only_with_a_message(server, config, write):
    scheduled(config, write())
    calls = count_calls(server, lambda: scheduled(config, write(), {"epochs": "2"}))
    off = 0
    for lost in range(calls):
        epochs = str(10 + lost)
        server.forget()
        server.lose_from = lost
        with pytest.raises(UserError) as caught:
            scheduled(config, write(), {"epochs": epochs})
        fires = len(server.backend.enabled("nightly"))
        assert fires == 1 or (fires == 0 and "may be off now" in str(caught.value))
        off += fires == 0
        server.forget()
        scheduled(config, write(), {"epochs": epochs})
        assert only(server.backend.jobs)["mode"] == "ENABLE"
    # Only between the two calls that switch.
    assert off == 1


@pytest.mark.parametrize("end", [":disable", "/recurringruns"])
@pytest.mark.parametrize("status", [403, 500])
def test_a_refused_call_of_a_reschedule_leaves_the_old_one_active(server, config, write, end, status):
    scheduled(config, write())
    old = only(server.backend.jobs)
    server.refuse = {("POST", end): status}
    with pytest.raises(UserError, match="not today"):
        scheduled(config, write(), {"epochs": "4"})
    assert server.backend.enabled("nightly") == [old]
    server.forget()
    scheduled(config, write(), {"epochs": "4"})
    assert only(server.backend.jobs)["mode"] == "ENABLE"


def test_a_server_that_switches_off_but_not_on_is_reported(server, config, write):
    scheduled(config, write())
    server.refuse = {("POST", ":enable"): 403}
    with pytest.raises(UserError, match="not today.*nightly may be off now: schedule it again"):
        scheduled(config, write(), {"epochs": "4"})
    server.forget()
    scheduled(config, write(), {"epochs": "4"})
    assert only(server.backend.jobs)["mode"] == "ENABLE"


@pytest.mark.parametrize("carried_out", [True, False])
def test_an_interrupt_while_switching_puts_the_old_one_on_again(server, config, write, monkeypatch, carried_out):
    scheduled(config, write())
    old = only(server.backend.jobs)
    original = kfp.Client.enable_recurring_run

    def interrupted(self, recurring_run_id):
        if recurring_run_id == old["recurring_run_id"]:
            return original(self, recurring_run_id)
        if carried_out:
            original(self, recurring_run_id)
        raise KeyboardInterrupt

    monkeypatch.setattr(kfp.Client, "enable_recurring_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scheduled(config, write(), {"epochs": "4"})
    assert server.backend.enabled("nightly") == [old]


@pytest.mark.parametrize("when", ["before", "after"])
def test_any_lost_call_of_a_first_schedule_is_repaired_by_a_repeat(server, config, write, when):
    calls = count_calls(server, lambda: scheduled(config, write(), name="other"))
    for lost in range(calls):
        name = f"nightly-{lost}"
        server.forget()
        server.lose = {lost: when}
        try:
            scheduled(config, write(), name=name)
        except UserError:
            server.forget()
            scheduled(config, write(), name=name)
        assert len(server.backend.enabled(name)) == 1
        assert [job["display_name"] for job in server.backend.jobs.values()].count(name) == 1


LOGIN = (200, "text/html", b"<!doctype html><title>Sign in</title>", {})


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (LOGIN, "200: not a response of Kubeflow Pipelines.*KF_PIPELINES_SA_TOKEN_PATH"),
        (
            (302, "text/html", b"", {"Location": "https://login.example.com/auth"}),
            "302: redirected to https://login.example.com",
        ),
        ((401, "text/plain", b"Jwt is missing", {}), r"401: not authenticated \(Jwt is missing\)"),
        (fake_backend.json_answer(403, {"message": "User x may not list"}), r"403: forbidden \(User x may not list\)"),
        (
            (404, "text/plain", b"404 page not found", {}),
            "404: not a response of Kubeflow Pipelines; check kubeflow.host",
        ),
        (fake_backend.json_answer(500, {"error": "database is gone"}), r"500: server error \(database is gone\)"),
        ((502, "text/html", b"<html>Bad gateway</html>", {}), "502: not a response of Kubeflow Pipelines"),
        (fake_backend.json_answer(400, {"error_message": "bad\x1b[31m"}), r"400: bad\\x1b\[31m"),
        ((200, "application/json", b"{", {}), "200: not a response"),
    ],
)
def test_a_wrong_response_is_reported_in_one_sentence(server, config, write, answer, sentence):
    server.answer = answer
    commands = [
        lambda: submitted(config, write()),
        lambda: scheduled(config, write()),
        lambda: unscheduled(config),
        lambda: listed(config),
    ]
    for command in commands:
        with pytest.raises(UserError, match=sentence) as caught:
            command()
        assert server.url in str(caught.value) and "\n" not in str(caught.value)


def test_an_upload_that_the_backend_refuses_shows_its_message(server, config, write, monkeypatch):
    monkeypatch.setattr("cluster.compatibility.check_file", lambda path: None)
    with pytest.raises(UserError, match="400: .*only supports schema version 2.1.0"):
        submitted(config, write(schemaVersion="2.0.0"))


def test_a_schedule_that_the_backend_refuses_shows_its_message(server, config, write, monkeypatch):
    monkeypatch.setattr("cluster.compiled_file.CompiledFile.parse_parameters", lambda self, texts: {"epochs": "three"})
    with pytest.raises(UserError, match="400: .*epochs requires type NUMBER_INTEGER"):
        scheduled(config, write())


def test_a_host_that_refuses_connections():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    config = KubeflowConfig(image="a", work_dir="/mnt/work", host=host)
    with pytest.raises(UserError, match=f"{host}: no connection .*refused.*kubeflow.host"):
        listed(config)


def test_an_unknown_host_name():
    config = KubeflowConfig(image="a", work_dir="/mnt/work", host="http://kubeflow.invalid")
    with pytest.raises(UserError, match="http://kubeflow.invalid: no connection"):
        listed(config)


def test_https_to_a_server_without_tls(server):
    config = KubeflowConfig(image="a", work_dir="/mnt/work", host=server.url.replace("http:", "https:"))
    with pytest.raises(UserError, match="TLS failed.*certificate"):
        listed(config)


def test_a_server_that_does_not_answer_in_time(server, config, monkeypatch):
    monkeypatch.setattr("cluster.connection.TIMEOUT", urllib3.Timeout(connect=5, read=0.2))
    server.pause_s = 1.0
    with pytest.raises(UserError, match="no response within"):
        listed(config)


def test_a_token_is_read_from_the_file_that_the_environment_names(server, config, monkeypatch, tmp_path):
    token = tmp_path / "token"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    with pytest.raises(UserError, match="KF_PIPELINES_SA_TOKEN_PATH: .*no such file"):
        connect(config)
    token.write_text("secret")
    listed(config)
    assert server.authorizations == {"Bearer secret"}


def test_connecting_sends_and_prints_nothing(server, config, capsys, recwarn):
    connect(config)
    assert server.requests == [] and capsys.readouterr() == ("", "") and not recwarn.list
