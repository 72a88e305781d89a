import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import zipfile

import pytest

from core.beam_config import BeamConfig
from core.errors import UserError
from pipeline.engine import boot, checks, flags, package, session
from pipeline.engine.flink import Flink, last_line

OVERVIEW = {"flink-version": "1.19.1", "slots-total": 2, "slots-available": 2}
JAVA_TRACE = """java.lang.RuntimeException: Failed to execute
\tat org.apache.flink.Task.run(Task.java:1)
Caused by: java.io.IOException: Cannot run program "/opt/boot.py": error=2, No such file or directory
\tat java.base/java.lang.ProcessBuilder.start(ProcessBuilder.java:1)
"""
PYTHON_TRACE = """java.lang.RuntimeException: Error received for instruction 3: Traceback (most recent call last):
  File "sdk_worker.py", line 1, in process
    raise
ModuleNotFoundError: No module named 'components'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "common.py", line 1, in process
    self.do(x)
ValueError: bad row [while running 'Parse-ptransform-28']

\tat org.apache.beam.runners.Harness.run(Harness.java:1)
Caused by: java.lang.RuntimeException: Error received
"""


@contextlib.contextmanager
def answering(body, status=200):
    """A server that gives the same answer to every GET; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def flink_answers(parallelism=None, status=200, **changes):
    """Returns what `check` says of a Flink with this overview."""
    with answering(json.dumps({**OVERVIEW, **changes}).encode(), status) as address:
        return Flink(address).check(parallelism)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runner": "flink"}, "address: missing; runner flink needs it"),
        ({"runner": "flink", "address": "localhost"}, "should be HOST:PORT of Flink's REST API"),
        ({"runner": "spark", "address": "localhost:7077"}, "should be Spark's master"),
        ({"region": "x"}, "region is for runner dataflow, not for direct"),
        ({"runner": "flink", "address": "a:1", "environment": "docker"}, "image: missing; environment docker needs it"),
        ({"runner": "flink", "address": "a:1", "pool": "b:2"}, "pool is for environment external, not for process"),
        ({"runner": "dataflow", "project": "p", "region": "r", "image": "i"}, "temp_location: missing"),
    ],
)
def test_an_option_of_another_runner_and_a_missing_one_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BeamConfig(**settings)


def test_flags_of_each_runner():
    assert flags.make_flags(BeamConfig()) == []
    assert flags.make_flags(BeamConfig(parallelism=4, args=("--x=1",))) == [
        "--direct_num_workers=4",
        "--direct_running_mode=multi_processing",
        "--x=1",
    ]
    flink = flags.parse(flags.make_flags(BeamConfig(runner="flink", address="jm:8081", parallelism=2)))
    assert (flink["runner"], flink["flink_master"], flink["parallelism"]) == ("FlinkRunner", "http://jm:8081", "2")
    worker = json.loads(flink["environment_config"])
    assert (flink["environment_type"], worker["command"]) == ("PROCESS", flags.BOOT)
    assert worker["env"]["TF_USE_LEGACY_KERAS"] == "1"
    spark = flags.parse(
        flags.make_flags(BeamConfig(runner="spark", address="local[2]", environment="docker", image="a/b:1"))
    )
    assert (spark["spark_master_url"], spark["environment_type"], spark["environment_config"]) == (
        "local[2]",
        "DOCKER",
        "a/b:1",
    )
    dataflow = BeamConfig(runner="dataflow", project="p", region="r", temp_location="gs://b/t", image="a/b:1")
    assert flags.make_flags(dataflow) == [
        "--runner=DataflowRunner",
        "--project=p",
        "--region=r",
        "--temp_location=gs://b/t",
        "--sdk_container_image=a/b:1",
    ]


def test_a_flag_that_beam_does_not_have_is_refused():
    with pytest.raises(UserError, match=r"beam.args: --runer: Beam has no such flag; did you mean runner\?"):
        flags.check_args(BeamConfig(args=("--runer=FlinkRunner",)))
    with pytest.raises(UserError, match="should be a flag such as"):
        flags.check_args(BeamConfig(args=("direct_num_workers=4",)))
    flink = BeamConfig(runner="flink", address="a:1", args=("--operator_chaining=false",))
    flags.check_args(BeamConfig(args=("--runner=PrismRunner", "--direct_num_workers=4")))
    flags.check_args(flink)
    flags.check_args(flink, ["operator_chaining"])
    with pytest.raises(UserError, match="--operator_chaining: Beam has no such flag"):
        flags.check_args(flink, ["other"])
    with pytest.raises(UserError, match="--parallelism: is set by beam.parallelism"):
        flags.check_args(flink.model_copy(update={"args": ("--parallelism=2",)}))


def test_flink_uses_its_slots():
    assert flink_answers() == ("1.19", 2)
    assert flink_answers(1) == ("1.19", 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parallelism": 3}, "beam.parallelism = 3: Flink at localhost:.* has 2 task slots"),
        ({"slots-total": 0, "slots-available": 0}, "has 0 task slots; start more task managers$"),
        ({"slots-available": 1}, "1 of Flink's 2 task slots are free, and 2 are needed"),
        ({"status": 401}, "HTTP status 401: Unauthorized"),
    ],
)
def test_a_flink_that_can_take_no_job_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        flink_answers(**changes)


def write_java(home, version):
    """Writes a `java` that only tells its version; machines without Java run these tests too."""
    java = home / "bin" / "java"
    java.parent.mkdir(exist_ok=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return java


def test_an_address_without_flink_is_refused_before_anything_starts(tmp_path, monkeypatch):
    write_java(tmp_path, "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UserError, match="Connection refused; should be HOST:PORT of Flink's REST API"):
        session.check(flags.make_flags(BeamConfig(runner="flink", address="localhost:1")))
    with answering(b"<html>") as address, pytest.raises(UserError, match="what answers there is not Flink"):
        Flink(address).check(None)


def test_java_is_found_or_the_message_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(UserError, match="PATH: no java there.*apt-get install"):
        checks.find_java({"PATH": str(tmp_path)})
    with pytest.raises(UserError, match="JAVA_HOME = .*: no java there"):
        checks.find_java({"JAVA_HOME": str(tmp_path)})
    for version, is_new in (("1.8.0_402", False), ("17.0.15", True)):
        java = write_java(tmp_path, version)
        if is_new:
            assert checks.find_java({"JAVA_HOME": str(tmp_path)}) == str(java)
        else:
            with pytest.raises(UserError, match=r'openjdk version "1.8.0_402"; should be Java 11 or newer'):
                checks.find_java({"JAVA_HOME": str(tmp_path)})


def test_a_file_that_is_no_job_server_is_refused(tmp_path):
    jar = tmp_path / "server.jar"
    with pytest.raises(UserError, match="server.jar: no such file; should be Beam's job server"):
        checks.check_jar(str(jar))
    jar.write_text("<html>404</html>")
    with pytest.raises(UserError, match="not a jar"):
        checks.check_jar(str(jar))
    for main, is_program in (("", False), ("Main-Class: a.B\n", True)):
        with zipfile.ZipFile(jar, "w") as archive:
            archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\n{main}")
        if is_program:
            checks.check_jar(str(jar))
        else:
            with pytest.raises(UserError, match="has no main class"):
                checks.check_jar(str(jar))


def test_the_last_line_is_pythons_or_else_javas_innermost_cause():
    assert last_line(PYTHON_TRACE) == "ValueError: bad row"
    assert last_line(JAVA_TRACE).startswith('java.io.IOException: Cannot run program "/opt/boot.py": error=2')
    assert last_line("java.lang.Exception: Timed out\n\tat a.b(c.java:1)") == "java.lang.Exception: Timed out"


def test_a_worker_unpacks_the_package_and_imports_it(tmp_path):
    archive = package.write(str(tmp_path))
    names = tmp_path / "extra_packages.txt"
    names.write_text("reviews.zip\n")
    folders = boot._unpack({"extra_packages.txt": str(names), "reviews.zip": archive}, str(tmp_path))
    modules = "core.config, pipeline.engine.flags, components.tsv_example_gen.split"
    script = f"import sys; sys.path = {folders!r} + [p for p in sys.path if 'site-packages' in p or 'lib/py' in p]\n"
    script += f"import {modules}\nprint(core.__file__, core.config.CURATED_SCHEMA)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    module, schema = done.stdout.split()
    assert module.startswith(str(tmp_path)) and pathlib.Path(schema).is_file()


def test_the_boot_program_can_be_started():
    assert os.access(flags.BOOT, os.X_OK)
    with open(flags.BOOT) as stream:
        assert stream.readline() == "#!/usr/bin/env python3\n"
