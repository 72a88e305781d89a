import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from cluster.replay import launcher, store
from core.errors import UserError
from tests.cluster.replay import tiny
from tests.cluster.replay.tiny import Ran, after, at_exit, constant, document, from_above, from_task, step

WRITE = """
os.makedirs(local(outputs["artifacts"]["model"]))
with open(local(outputs["artifacts"]["model"]) + "/weights", "w") as stream:
    stream.write("w")
"""
FINAL_STATUS = {"final_status": ("STRING", {"taskFinalStatus": {"producerTask": "dag"}})}


def in_dag(steps, exit_step=None, definitions=None, outputs=None, task=None, parameters=None):
    dags = {"dag": (task or {}, steps, definitions or {}, outputs or {})}
    return document({"exit": exit_step} if exit_step else {}, parameters, dags)


def test_tasks_run_after_those_whose_outputs_they_take(tmp_path):
    first = step(WRITE + "finish(artifacts={'model': {'artifacts': [{'metadata': {'n': 3}}]}})", outputs=["model"])
    second = step(
        "print(json.dumps(inputs), os.listdir(local(inputs['artifacts']['m'])))", artifacts={"m": ("z", "model")}
    )
    ran = Ran(tmp_path, document({"a": second, "z": first}))
    assert ran.status == 0
    assert list(ran.statuses().items()) == [("z", "complete"), ("a", "complete")]
    assert "['weights']" in ran.log("a")
    assert '"n": 3' in ran.log("a")


def test_dependent_tasks_run_later(tmp_path):
    ran = Ran(tmp_path, document({"a": step(**after("b")), "b": step(**after("c")), "c": step()}))
    assert list(ran.statuses()) == ["c", "b", "a"]


def test_parameters_reach_tasks_of_a_nested_dag_with_their_types(tmp_path):
    inputs = {"n": ("NUMBER_INTEGER", from_above("n")), "t": ("STRING", from_above("t"))}
    definitions = {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}, "t": {"parameterType": "STRING"}}}
    task = {"inputs": {"parameters": {"n": from_above("rows"), "t": from_above("title")}}}
    parameters = {
        "rows": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2000},
        "title": {"parameterType": "STRING", "defaultValue": "a"},
    }
    step_ = step("print(json.dumps(inputs['parameterValues']))", inputs=inputs)
    ran = Ran(tmp_path, in_dag({"x": step_}, None, definitions, task=task, parameters=parameters), title="b c")
    assert json.loads(ran.log("x")) == {"n": 2000, "t": "b c"}
    assert ran.record["parameters"] == {"rows": 2000, "title": "b c"}


def test_output_parameters_come_from_files_and_from_the_output_file(tmp_path):
    write = "open(outputs['parameters']['n']['outputFile'], 'w').write('7'); finish(parameterValues={'t': 'told'})"
    first = step(write, values={"n": "NUMBER_INTEGER", "t": "STRING"})
    inputs = {"n": ("NUMBER_INTEGER", from_task("p", "n")), "t": ("STRING", from_task("p", "t"))}
    second = step("print(json.dumps(inputs['parameterValues']))", inputs=inputs)
    ran = Ran(tmp_path, document({"p": first, "q": second}))
    assert json.loads(ran.log("q")) == {"n": 7, "t": "told"}


def test_outputs_of_a_dag_are_those_of_its_tasks(tmp_path):
    selector = {"producerSubtask": "x", "outputArtifactKey": "model"}
    outputs = {
        "artifacts": {"m": {"artifactSelectors": [selector]}},
        "parameters": {"n": {"valueFromParameter": {"producerSubtask": "x", "outputParameterKey": "n"}}},
    }
    inner = step(WRITE + "finish(parameterValues={'n': 4})", outputs=["model"], values={"n": "NUMBER_INTEGER"})
    user = step(
        "print(inputs['parameterValues'], os.listdir(local(inputs['artifacts']['m'])))",
        inputs={"n": ("NUMBER_INTEGER", from_task("dag", "n"))},
        artifacts={"m": ("dag", "m")},
    )
    ran = Ran(tmp_path, document({"user": user}, None, {"dag": ({}, {"x": inner}, {}, outputs)}))
    assert ran.log("user") == "{'n': 4} ['weights']\n"


def test_an_artifact_handed_down_to_a_dag_has_no_type_at_all(tmp_path):
    task = {"inputs": {"artifacts": {"m": {"taskOutputArtifact": {"producerTask": "p", "outputArtifactKey": "model"}}}}}
    definitions = {"artifacts": {"m": {"artifactType": tiny.ARTIFACT}}}
    show = "print('type' in inputs['artifacts']['m']['artifacts'][0], os.listdir(local(inputs['artifacts']['m'])))"
    dags = {"dag": (task, {"x": step(show, artifacts={"m": "m"})}, definitions, {})}
    ran = Ran(tmp_path, document({"p": step(WRITE, outputs=["model"])}, None, dags))
    assert ran.log("x") == "False ['weights']\n"


def test_empty_directories_do_not_reach_the_next_task(tmp_path):
    first = step(WRITE + "os.makedirs(local(outputs['artifacts']['model']) + '/assets/none')", outputs=["model"])
    second = step("print(sorted(os.walk(local(inputs['artifacts']['m']))))", artifacts={"m": ("p", "model")})
    ran = Ran(tmp_path, document({"p": first, "q": second}))
    assert "weights" in ran.log("q") and "assets" not in ran.log("q")


def test_an_output_that_nobody_wrote_is_not_there_at_all(tmp_path):
    second = step("print(os.path.exists(local(inputs['artifacts']['m'])))", artifacts={"m": ("p", "model")})
    ran = Ran(tmp_path, document({"p": step(outputs=["model"]), "q": second}))
    assert ran.log("q") == "False\n"


def test_a_link_to_a_directory_fails_and_one_to_a_file_becomes_the_file(tmp_path):
    good = WRITE + "os.symlink('weights', local(outputs['artifacts']['model']) + '/latest')"
    bad = WRITE + "os.symlink('/usr', local(outputs['artifacts']['model']) + '/latest')"
    ran = Ran(tmp_path, document({"bad": step(bad, outputs=["model"]), "good": step(good, outputs=["model"])}))
    assert ran.statuses() == {"bad": "failed", "good": "complete"}
    assert "latest: can't be uploaded: Is a directory" in ran.record["tasks"]["bad"]["error"]
    assert not os.path.islink(os.path.join(ran.stored("good", "model"), "latest"))
    assert ran.status == 1


def test_a_task_does_not_see_the_files_of_an_attempt_before(tmp_path):
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); n = os.path.getsize({str(tmp_path / 'count')!r})\n"
    fails_twice = count + "print('n', n, os.path.exists('mine')); open('mine', 'w').close(); sys.exit(n < 3)"
    retry = {"maxRetryCount": 2, "backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "600s"}
    ran = Ran(tmp_path, document({"flaky": step(fails_twice, retryPolicy=retry)}))
    assert ran.status == 0
    assert ran.record["tasks"]["flaky"]["attempts"] == 3
    assert ran.log("flaky") == "n 1 False\nn 2 False\nn 3 False\n"
    assert "attempt 1 of 3: exit status 1: n 1 False; next one at once, on a cluster after 30 s" in ran.said
    assert "on a cluster after 60 s" in ran.said


def test_a_task_fails_for_good_after_its_last_attempt(tmp_path):
    ran = Ran(tmp_path, document({"t": step("sys.exit(3)", retryPolicy={"maxRetryCount": 1})}))
    assert (ran.status, ran.record["tasks"]["t"]["attempts"], ran.record["tasks"]["t"]["exit_status"]) == (1, 2, 3)


def test_backends_before_2_5_do_not_retry(tmp_path):
    ran = Ran(tmp_path, document({"t": step("sys.exit(3)", retryPolicy={"maxRetryCount": 1})}), layout="2.3")
    assert ran.record["tasks"]["t"]["attempts"] == 1


@pytest.mark.parametrize(("value", "status"), [("yes", "complete"), ("no", "skipped")])
def test_a_condition_decides_whether_a_task_and_what_needs_it_runs(tmp_path, value, status):
    policy = {"triggerPolicy": {"condition": "inputs.parameter_values['go'] == 'yes'"}}
    conditional = step(inputs={"go": ("STRING", constant(value))}, **policy)
    ran = Ran(tmp_path, document({"c": conditional, "d": step(**after("c")), "e": step()}))
    assert ran.statuses() == {"c": status, "d": status, "e": "complete"}
    assert ran.status == 0


def test_a_condition_on_what_is_not_there_fails_the_task(tmp_path):
    ran = Ran(tmp_path, document({"c": step(triggerPolicy={"condition": "inputs.parameter_values['go'] == 'yes'"})}))
    assert ran.status == 1
    assert "no such key" in ran.record["tasks"]["c"]["error"]


def test_the_exit_handler_learns_of_success(tmp_path):
    ran = Ran(
        tmp_path,
        in_dag(
            {"x": step()},
            step("print(inputs['parameterValues']['final_status'])", inputs=FINAL_STATUS, **at_exit("dag")),
        ),
    )
    assert json.loads(ran.log("exit")) == {
        "state": "COMPLETE",
        "pipelineTaskName": "dag",
        "pipelineJobResourceName": "tiny",
        "error": {},
    }
    assert ran.status == 0


def test_after_a_failure_only_the_exit_handler_and_what_does_not_need_the_task_run(tmp_path):
    steps = {"bad": step("sys.exit(1)"), "needs": step(**after("bad")), "other": step()}
    exit_ = step("print(inputs['parameterValues']['final_status'])", inputs=FINAL_STATUS, **at_exit("dag"))
    ran = Ran(tmp_path, in_dag(steps, exit_))
    assert ran.statuses() == {"bad": "failed", "other": "complete", "needs": "skipped", "exit": "complete"}
    assert json.loads(ran.log("exit"))["state"] == "FAILED"
    assert "needs                          skipped: it needs bad, which failed" in ran.said
    assert ran.status == 1


def test_a_task_that_its_user_must_mend_gives_status_2_and_its_sentence(tmp_path):
    code = "print('noise'); print('error: data.train: no such file', file=sys.stderr); sys.exit(2)"
    ran = Ran(tmp_path, document({"t": step(code)}))
    assert ran.status == 2
    assert "error: data.train: no such file" in ran.said


def test_one_failure_of_another_kind_makes_the_status_1(tmp_path):
    ran = Ran(tmp_path, document({"t": step("sys.exit(2)"), "u": step("sys.exit(1)")}))
    assert ran.status == 1


@pytest.mark.parametrize(("summary", "status"), [("not_blessed", 3), ("pushed", 0)])
def test_a_report_of_a_model_that_was_not_blessed_gives_status_3(tmp_path, summary, status):
    code = f"""
os.makedirs(local(outputs["artifacts"]["report"]))
for name, text in {{"summary.json": json.dumps({{"status": {summary!r}}}), "report.html": "<html>"}}.items():
    open(os.path.join(local(outputs["artifacts"]["report"]), name), "w").write(text)
"""
    ran = Ran(tmp_path, document({"run-report": step(code, outputs=["report"])}))
    assert ran.status == ran.record["exit_status"] == status
    assert os.path.join(ran.stored("run-report", "report"), "report.html") in ran.said


def test_a_null_in_metadata_fails_the_task(tmp_path):
    code = "finish(artifacts={'model': {'artifacts': [{'metadata': {'n': None}}]}})"
    ran = Ran(tmp_path, document({"t": step(code, outputs=["model"])}))
    assert ran.status == 1
    assert "output model: metadata: n: null" in ran.said


@pytest.mark.parametrize("output", ["{'artefacts': {}}", "{'artifacts': {'model': 1}}"])
def test_an_output_file_is_parsed_strictly(tmp_path, output):
    ran = Ran(tmp_path, document({"t": step(f"finish(**{output})", outputs=["model"])}))
    assert ran.status == 1
    assert "its output file is no ExecutorOutput" in ran.said


def test_an_output_moved_to_a_local_path_fails(tmp_path):
    code = "finish(artifacts={'model': {'artifacts': [{'uri': '/somewhere'}]}})"
    ran = Ran(tmp_path, document({"t": step(code, outputs=["model"])}))
    assert "output model: /somewhere: should be" in ran.said


def test_an_output_parameter_without_a_value_fails_the_task(tmp_path):
    ran = Ran(tmp_path, document({"t": step(values={"n": "NUMBER_INTEGER"})}))
    assert "output n: No such file or directory: the task wrote no value for it" in ran.said


def test_an_input_of_another_type_fails_the_task_before_it_starts(tmp_path):
    ran = Ran(tmp_path, document({"t": step(inputs={"n": ("NUMBER_INTEGER", constant("seven"))})}))
    assert ran.record["tasks"]["t"]["attempts"] == 0
    assert "input n: should be a whole number, not 'seven'" in ran.said


def test_placeholders_in_the_arguments_are_replaced(tmp_path):
    words = (
        "{{$}}",
        "--n={{$.inputs.parameters['n']}}",
        "{{$.outputs.artifacts['model'].uri}}",
        "{{$.outputs.artifacts['model'].path}}",
        "{{$.unknown}}",
    )
    code = "print(json.dumps([sys.argv[2:], local(outputs['artifacts']['model'])]))"
    inputs = {"n": ("NUMBER_DOUBLE", constant(0.5))}
    ran = Ran(tmp_path, document({"t": step(code, inputs=inputs, outputs=["model"], words=words)}))
    (n, uri, path, unknown), local = json.loads(ran.log("t"))
    assert (n, unknown) == ("--n=0.5", "{{$.unknown}}")
    assert uri == ran.record["tasks"]["t"]["artifacts"]["model"]
    assert path == local


def test_paths_of_the_image_and_of_volumes_mean_folders_here(tmp_path):
    settings = json.dumps({"schema": "/app/schema/schema.pbtxt", "serving": "/mnt/reviews/serving", "not": "/apple"})
    inputs = {"gate": ("STRING", constant(settings)), "url": ("STRING", constant("https://host/app/x"))}
    platform = {"pvcMount": [{"constant": "reviews", "mountPath": "/mnt/reviews"}]}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"t_executor": platform}}}}}
    code = """
values = inputs["parameterValues"]
paths = json.loads(values["gate"])
os.makedirs(paths["serving"], exist_ok=True)
print(json.dumps([paths, values["url"], os.environ["REPORTS"], sys.argv[2]]))
"""
    arguments = ("{{$}}", "--dir=/app/data")
    ran = Ran(
        tmp_path,
        document(
            {
                "t": step(
                    code,
                    inputs=inputs,
                    words=arguments,
                    env={"REPORTS": "/mnt/reviews/runs", "REVIEWS_IMAGE_DIR": "/app"},
                )
            }
        ),
        platforms,
    )
    volume = os.path.join(ran.root, "volumes", "reviews")
    paths, url, reports, argument = json.loads(ran.log("t"))
    assert paths["schema"] == os.path.join(launcher.REPO, "schema", "schema.pbtxt")
    assert paths["serving"] == os.path.join(volume, "serving")
    assert os.path.isdir(paths["serving"])
    assert (paths["not"], url) == ("/apple", "https://host/app/x")
    assert (reports, argument) == (os.path.join(volume, "runs"), f"--dir={launcher.REPO}/data")


def test_the_packages_of_the_repository_can_be_imported(tmp_path):
    ran = Ran(tmp_path, document({"t": step("import core.escape; print(core.escape.__file__)")}))
    assert ran.log("t").startswith(launcher.REPO)


@pytest.mark.parametrize("layout", ["2.3", "2.5", "2.15"])
def test_the_output_file_is_read_where_the_layout_has_it(tmp_path, layout):
    code = "finish(parameterValues={'n': 4})"
    ran = Ran(tmp_path, document({"t": step(code, values={"n": "NUMBER_INTEGER"}, outputs=["model"])}), layout=layout)
    assert ran.status == 0


def test_the_log_is_an_output_from_2_5_on(tmp_path):
    ran = Ran(tmp_path, document({"t": step("print('hello')")}))
    with open(ran.stored("t", "executor-logs"), encoding="utf-8") as stream:
        assert stream.read() == "hello\n"


def test_the_pipeline_root_is_a_parameter(tmp_path):
    parameters = {"pipeline_root": {"parameterType": "STRING", "defaultValue": ""}}
    documents = document({"t": step(outputs=["model"])}, parameters)
    ran = Ran(tmp_path, documents, layout="2.3", pipeline_root="s3://mine/there/")
    assert ran.record["tasks"]["t"]["artifacts"]["model"] == f"s3://mine/there/tiny/{ran.record['run_id']}/t/model"


@pytest.mark.parametrize("root", ["gs://bucket/x", "/tmp/x", "minio://../x", "minio:///etc"])
def test_a_pipeline_root_without_a_store_here_is_refused(tmp_path, root):
    parameters = {"pipeline_root": {"parameterType": "STRING", "defaultValue": ""}}
    with pytest.raises(UserError, match="--param pipeline_root="):
        Ran(tmp_path, document({"t": step()}, parameters), pipeline_root=root)


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--layout 2.4: should be one of 2.3, 2.5, 2.15"):
        Ran(tmp_path, document({"t": step()}), layout="2.4")


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(UserError, match="can't be written to"):
        Ran(tmp_path, document({"t": step()}))


def test_tasks_of_the_same_name_in_two_dags_have_logs_of_their_own(tmp_path):
    spec = document({"x": step("print('outer')"), "last": step()})
    spec["components"]["dag"] = {"dag": {"tasks": {"x": {"taskInfo": {"name": "x"}, "componentRef": {"name": "last"}}}}}
    spec["root"]["dag"]["tasks"]["y"] = {"taskInfo": {"name": "y"}, "componentRef": {"name": "dag"}}
    ran = Ran(tmp_path, spec)
    assert set(ran.statuses()) == {"x", "last", "y.x"}


def test_a_container_leaves_no_process_behind(tmp_path):
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    ran = Ran(tmp_path, document({"t": step(code)}))
    assert not _is_alive(int(ran.log("t")))


def test_ctrl_c_ends_the_container_and_keeps_the_record(tmp_path):
    code = f"""
import subprocess, time
child = subprocess.Popen(['sleep', '60'])
open({str(tmp_path / "pids")!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')
time.sleep(60)
"""
    file = tiny.write(tmp_path, document({"t": step(code)}))
    program = textwrap.dedent(
        f"""
        import rich.console
        from cluster import replay
        replay.run({file!r}, {str(tmp_path / "root")!r}, {{}}, "2.5", rich.console.Console())
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=launcher.REPO, stderr=subprocess.PIPE, text=True)
    pids = _wait_for(tmp_path / "pids")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    assert not any(_is_alive(int(pid)) for pid in pids.split())
    (record,) = (tmp_path / "root" / "runs").iterdir()
    assert json.loads(record.read_text())["exit_status"] is None


def _wait_for(path):
    end = time.monotonic() + 30
    while not (path.exists() and len(path.read_text().split()) == 2):
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.05)
    return path.read_text()


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_differs_from_the_cluster_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "x")
    pairs = [{"secretKey": "k", "envVar": name} for name in ("HERE", "NOT_HERE")]
    pods = {"exit_executor": {"secretAsEnv": [{"secretName": "s", "keyToEnv": pairs}]}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}
    spec = in_dag({"x": step()}, step(inputs=FINAL_STATUS, **at_exit("dag")))
    for layout in ("2.3", "2.15"):
        (tmp_path / layout).mkdir()
    old, new = (Ran(tmp_path / layout, spec, platforms, layout=layout) for layout in ("2.3", "2.15"))
    assert "note: a backend before 2.14 refuses this pipeline" in old.said
    assert "before 2.14" not in new.said
    assert "note: NOT_HERE: from secrets on the cluster" in new.said


def test_a_full_disk_fails_the_task_with_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/replay/store/x")

    monkeypatch.setattr(store.Store, "download", full)
    second = step(artifacts={"m": ("p", "model")})
    ran = Ran(tmp_path, document({"p": step(outputs=["model"]), "q": second}))
    assert ran.status == 1
    assert ran.record["tasks"]["q"]["error"] == "/replay/store/x: No space left on device"


def test_the_claim_of_a_volume_can_be_a_parameter(tmp_path):
    pods = {"t_executor": {"pvcMount": [{"componentInputParameter": "claim", "mountPath": "/mnt/x"}]}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}
    spec = document(
        {"t": step("print(sys.argv[2])", words=("{{$}}", "/mnt/x"))}, {"claim": {"parameterType": "STRING"}}
    )
    ran = Ran(tmp_path, spec, platforms, claim="mine")
    assert ran.log("t").strip() == os.path.join(ran.root, "volumes", "mine")
