import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from cluster.replay import kfp_launcher, object_store
from core.errors import UserError
from tests.cluster.replay import tiny
from tests.cluster.replay.tiny import Ran, after, at_exit, constant, document, from_dag, step

WRITE = """
os.makedirs(local(outputs["artifacts"]["model"]))
with open(local(outputs["artifacts"]["model"]) + "/weights", "w") as stream:
    stream.write("w")
"""


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


def test_parameters_reach_the_tasks_of_a_dag_with_their_types(tmp_path):
    inputs = {"n": ("NUMBER_INTEGER", from_dag("n")), "t": ("STRING", from_dag("t"))}
    dag_inputs = {"n": ("NUMBER_INTEGER", from_dag("rows")), "t": ("STRING", from_dag("title"))}
    parameters = {
        "rows": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2000},
        "title": {"parameterType": "STRING", "defaultValue": "a"},
    }
    dag_steps = {"x": step("print(json.dumps(inputs['parameterValues']))", inputs=inputs)}
    ran = Ran(tmp_path, document({}, parameters, dag_steps, dag_inputs), title="b c")
    assert json.loads(ran.log("x")) == {"n": 2000, "t": "b c"}
    assert ran.record["parameters"] == {"rows": 2000, "title": "b c"}


def test_empty_directories_do_not_reach_the_next_task(tmp_path):
    first = step(WRITE + "os.makedirs(local(outputs['artifacts']['model']) + '/assets/none')", outputs=["model"])
    second = step("print(sorted(os.walk(local(inputs['artifacts']['m']))))", artifacts={"m": ("p", "model")})
    ran = Ran(tmp_path, document({"p": first, "q": second}))
    assert "weights" in ran.log("q") and "assets" not in ran.log("q")


def test_an_unwritten_output_does_not_exist_downstream(tmp_path):
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


def test_a_retry_does_not_see_the_files_of_the_previous_attempt(tmp_path):
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); n = os.path.getsize({str(tmp_path / 'count')!r})\n"
    fails_twice = count + "print('n', n, os.path.exists('mine')); open('mine', 'w').close(); sys.exit(n < 3)"
    retry = {"maxRetryCount": 2, "backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "600s"}
    ran = Ran(tmp_path, document({"flaky": step(fails_twice, retryPolicy=retry)}))
    assert ran.status == 0
    assert ran.record["tasks"]["flaky"]["attempts"] == 3
    assert ran.log("flaky") == "n 1 False\nn 2 False\nn 3 False\n"
    assert "attempt 1 of 3 failed: exit status 1: n 1 False; retrying at once (a cluster waits 30 s)" in ran.output
    assert "(a cluster waits 60 s)" in ran.output


def test_a_task_fails_for_good_after_its_last_attempt(tmp_path):
    ran = Ran(tmp_path, document({"t": step("sys.exit(3)", retryPolicy={"maxRetryCount": 1})}))
    assert (ran.status, ran.record["tasks"]["t"]["attempts"], ran.record["tasks"]["t"]["exit_status"]) == (1, 2, 3)


def test_backends_before_2_5_do_not_retry(tmp_path):
    ran = Ran(tmp_path, document({"t": step("sys.exit(3)", retryPolicy={"maxRetryCount": 1})}), layout="2.3")
    assert ran.record["tasks"]["t"]["attempts"] == 1


def test_the_exit_handler_runs_after_success(tmp_path):
    ran = Ran(tmp_path, document({"exit": step(**at_exit("dag"))}, None, {"x": step()}))
    assert list(ran.statuses().items()) == [("x", "complete"), ("exit", "complete")]
    assert ran.status == 0


def test_after_a_failure_only_the_exit_handler_and_independent_tasks_run(tmp_path):
    steps = {"bad": step("sys.exit(1)"), "needs": step(**after("bad")), "other": step()}
    ran = Ran(tmp_path, document({"exit": step(**at_exit("dag"))}, None, steps))
    assert ran.statuses() == {"bad": "failed", "other": "complete", "needs": "skipped", "exit": "complete"}
    assert "needs                          skipped: upstream task bad failed" in ran.output
    assert ran.status == 1


def test_a_task_that_needs_a_failed_dag_is_skipped(tmp_path):
    ran = Ran(tmp_path, document({"last": step(**after("dag"))}, None, {"bad": step("sys.exit(1)")}))
    assert ran.statuses() == {"bad": "failed", "last": "skipped"}


def test_an_error_of_the_user_gives_status_2_and_its_message(tmp_path):
    code = "print('noise'); print('error: data.train: no such file', file=sys.stderr); sys.exit(2)"
    ran = Ran(tmp_path, document({"t": step(code)}))
    assert ran.status == 2
    assert "error: data.train: no such file" in ran.output


def test_one_failure_of_another_kind_gives_status_1(tmp_path):
    ran = Ran(tmp_path, document({"t": step("sys.exit(2)"), "u": step("sys.exit(1)")}))
    assert ran.status == 1


@pytest.mark.parametrize(("summary", "status"), [("not_blessed", 3), ("pushed", 0)])
def test_the_report_decides_between_status_0_and_3(tmp_path, summary, status):
    code = f"""
os.makedirs(local(outputs["artifacts"]["report"]))
for name, text in {{"summary.json": json.dumps({{"status": {summary!r}}}), "report.html": "<html>"}}.items():
    open(os.path.join(local(outputs["artifacts"]["report"]), name), "w").write(text)
"""
    ran = Ran(tmp_path, document({"run-report": step(code, outputs=["report"])}))
    assert ran.status == ran.record["exit_status"] == status
    assert os.path.join(ran.stored("run-report", "report"), "report.html") in ran.output


def test_a_null_in_metadata_fails_the_task(tmp_path):
    code = "finish(artifacts={'model': {'artifacts': [{'metadata': {'n': None}}]}})"
    ran = Ran(tmp_path, document({"t": step(code, outputs=["model"])}))
    assert ran.status == 1
    assert "output model: metadata: n: null" in ran.output


@pytest.mark.parametrize("output", ["{'artefacts': {}}", "{'artifacts': {'model': 1}}"])
def test_an_output_file_is_parsed_strictly(tmp_path, output):
    ran = Ran(tmp_path, document({"t": step(f"finish(**{output})", outputs=["model"])}))
    assert ran.status == 1
    assert "output file: not a valid ExecutorOutput" in ran.output


def test_an_output_with_a_local_path_as_its_uri_fails(tmp_path):
    code = "finish(artifacts={'model': {'artifacts': [{'uri': '/somewhere'}]}})"
    ran = Ran(tmp_path, document({"t": step(code, outputs=["model"])}))
    assert "output model: /somewhere: should be" in ran.output


def test_the_executor_input_replaces_its_placeholder(tmp_path):
    code = "print(json.dumps([given['inputs']['parameterValues'], sys.argv[2:]]))"
    task = step(code, inputs={"n": ("NUMBER_DOUBLE", constant(0.5))}, words=("{{$}}", "--x"))
    assert json.loads(Ran(tmp_path, document({"t": task})).log("t")) == [{"n": 0.5}, ["--x"]]


def test_paths_of_the_image_and_of_volumes_are_translated(tmp_path):
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
    assert paths["schema"] == os.path.join(kfp_launcher.REPO, "schema", "schema.pbtxt")
    assert paths["serving"] == os.path.join(volume, "serving")
    assert os.path.isdir(paths["serving"])
    assert (paths["not"], url) == ("/apple", "https://host/app/x")
    assert (reports, argument) == (os.path.join(volume, "runs"), f"--dir={kfp_launcher.REPO}/data")


def test_the_packages_of_the_repository_can_be_imported(tmp_path):
    ran = Ran(tmp_path, document({"t": step("import core.escape; print(core.escape.__file__)")}))
    assert ran.log("t").startswith(kfp_launcher.REPO)


@pytest.mark.parametrize("layout", ["2.3", "2.5", "2.15"])
def test_the_output_file_is_read_in_every_layout(tmp_path, layout):
    first = step("finish(artifacts={'model': {'artifacts': [{'metadata': {'n': 4}}]}})", outputs=["model"])
    second = step("print(inputs['artifacts']['m']['artifacts'][0]['metadata']['n'])", artifacts={"m": ("p", "model")})
    assert Ran(tmp_path, document({"p": first, "q": second}), layout=layout).log("q") == "4\n"


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
def test_a_pipeline_root_outside_of_the_store_is_refused(tmp_path, root):
    parameters = {"pipeline_root": {"parameterType": "STRING", "defaultValue": ""}}
    with pytest.raises(UserError, match="--param pipeline_root="):
        Ran(tmp_path, document({"t": step()}, parameters), pipeline_root=root)


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--layout 2.4: should be one of 2.3, 2.5, 2.15"):
        Ran(tmp_path, document({"t": step()}), layout="2.4")


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(UserError, match="not writable"):
        Ran(tmp_path, document({"t": step()}))


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
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=kfp_launcher.REPO, stderr=subprocess.PIPE, text=True
    )
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


def test_secrets_that_are_not_set_here_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "x")
    pairs = [{"secretKey": "k", "envVar": name} for name in ("HERE", "NOT_HERE")]
    pods = {"t_executor": {"secretAsEnv": [{"secretName": "s", "keyToEnv": pairs}]}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}
    assert "note: NOT_HERE: set from secrets on the cluster" in Ran(tmp_path, document({"t": step()}), platforms).output


def test_a_full_disk_fails_the_task_with_a_message(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/replay/store/x")

    monkeypatch.setattr(object_store.ObjectStore, "download", full)
    second = step(artifacts={"m": ("p", "model")})
    ran = Ran(tmp_path, document({"p": step(outputs=["model"]), "q": second}))
    assert ran.status == 1
    assert ran.record["tasks"]["q"]["error"] == "/replay/store/x: No space left on device"
