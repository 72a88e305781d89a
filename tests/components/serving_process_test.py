"""The probe's process: what it imports, how its end is described, and that it ends with its parent."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from components.serving_validator import process
from components.serving_validator.request_set import HOSTILE, Request, as_json
from core.config import ServingGateConfig
from tests import saved_models

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OURS = {"benchmarks", "components", "pipeline", "schema", "tests", "trainer", "local_runner"}


@pytest.mark.parametrize(
    "status, words",
    [(0, None), (1, "exited with status 1"), (139, "was killed by SIGSEGV"), (-9, "was killed by SIGKILL")],
)
def test_exit_status_in_words(status, words):
    assert process.describe_exit(status) == words


@pytest.fixture
def run_script(tmp_path, monkeypatch):
    """Runs Python code in place of the probe, after it has loaded the model and sent a request."""

    def run(code, **bounds):
        (tmp_path / "probe.py").write_text(
            "import os, signal, sys, time\nanswers = open(sys.argv[2], 'w', buffering=1)\n"
            """answers.write('{"loaded": true}\\n{"sent": 0}\\n')\n""" + code
        )
        monkeypatch.setattr(process, "PROBE", str(tmp_path / "probe.py"))
        requests = [Request("emoji only", HOSTILE, (b"",))]
        return process.query_in_fresh_process(str(tmp_path), requests, ServingGateConfig(**bounds))

    return run


def test_crash_is_reported_with_its_signal_and_last_log_lines(run_script):
    code = (
        "sys.stderr.write('Check failed:\\x1b[31m boom\\n'); sys.stderr.flush(); os.kill(os.getpid(), signal.SIGSEGV)"
    )
    transcript = run_script(code)
    assert transcript.loaded
    fault = "the process was killed by SIGSEGV; last log lines: Check failed:?[31m boom"
    assert (transcript.fault, transcript.responses[0].error) == (fault, fault)


def test_hanging_process_is_ended_and_names_the_request(run_script):
    transcript = run_script("time.sleep(600)", answer_timeout_s=0.3)
    assert transcript.responses[0].error.startswith(
        "the process did not answer all requests within 0.3 s "
        "(gates.serving.answer_timeout_s); still waiting for 'emoji only'"
    )


def test_probe_imports_tensorflow_and_tf_text_only(tmp_path):
    model, job, answers = saved_models.save(str(tmp_path / "model")), tmp_path / "job.json", tmp_path / "answers.jsonl"
    requests = [{"inputs": as_json({"text": [b"a"]}), "concurrent": concurrent} for concurrent in (False, True)]
    job.write_text(json.dumps({"model": model, "callers": 2, "requests": requests}))
    code = (
        "import runpy, sys, tensorflow, tensorflow_text\n"
        "theirs = set(sys.modules)\n"
        f"sys.argv = ['probe', {str(job)!r}, {str(answers)!r}]\n"
        f"runpy.run_path({process.PROBE!r}, run_name='__main__')\n"
        "import json; print(json.dumps([sorted(theirs), sorted(set(sys.modules) - theirs)]))"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
    theirs, more = (
        {module.partition(".")[0] for module in modules} for modules in json.loads(done.stdout.splitlines()[-1])
    )
    assert [set(json.loads(line)) & {"loaded", "outputs"} for line in answers.read_text().splitlines()] == [
        {"loaded"}, set(), {"outputs"}, set(), {"outputs"}
    ]  # fmt: skip
    assert more <= set(sys.stdlib_module_names) | {"tensorflow"}
    assert not theirs & {*OURS, "official", "tfx", "tensorflow_hub", "tensorflow_transform"}


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    # The second if it ends between opening and reading.
    except (FileNotFoundError, ProcessLookupError):
        return False


def _await(condition, timeout_s=60.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_killed_run_leaves_no_probe(tmp_path):
    pid_file, model = tmp_path / "pid", saved_models.save(str(tmp_path / "model"))
    (tmp_path / "probe.py").write_text(
        "import os, sys, time\n"
        f"open({str(tmp_path / 'new')!r}, 'w').write(str(os.getpid()))\n"
        f"os.replace({str(tmp_path / 'new')!r}, {str(pid_file)!r})\n"
        "time.sleep(600)\n"
    )
    code = (
        "from components.serving_validator import process\n"
        "from core.config import ServingGateConfig\n"
        f"process.PROBE = {str(tmp_path / 'probe.py')!r}\n"
        f"process.query_in_fresh_process({model!r}, [], ServingGateConfig())\n"
    )
    environment = {**os.environ, "PYTHONPATH": REPOSITORY, "TMPDIR": str(tmp_path)}
    run = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    try:
        _await(pid_file.exists)
        pid = int(pid_file.read_text())
        assert _alive(pid)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    _await(lambda: not _alive(pid), timeout_s=10.0)
