import json
import pathlib
import subprocess
import sys

from absl import logging
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.types import standard_artifacts

from cluster import executor_call, shared_copies
from core import progress

SEEN = {}


class Plain(base_executor.BaseExecutor):
    """Records its arguments, and describes its output."""

    def Do(self, inputs, outputs, properties):
        SEEN.update(inputs=inputs, properties=properties, tmp=self._get_tmp_dir(), id=self._context._unique_id)
        for output in outputs.get("examples", ()):
            output.split_names, output.span = json.dumps(["train"]), 3
            output.set_string_custom_property("fingerprint", "abc")
            output.set_int_custom_property("rows", 0)


class Logging(base_executor.BaseExecutor):
    def Do(self, inputs, outputs, properties):
        logging.info("reading")
        progress.report("epoch 1/5", 3, 9, loss=0.5)


class WithBeam(base_beam_executor.BaseBeamExecutor):
    def Do(self, inputs, outputs, properties):
        SEEN.update(flags=self._beam_pipeline_args)


def call(class_name, tmp_path, inputs=None, outputs=None, values=None, **spec):
    content = {
        "inputs": {"artifacts": inputs or {}, "parameterValues": values or {}},
        "outputs": {"artifacts": outputs or {}},
    }
    return executor_call.call(
        f"{__name__}.{class_name}", content, spec, flags=["--x=1"], run_id="run-1", temporary=str(tmp_path)
    )


def artifact(title, **fields):
    return {"artifacts": [{"type": {"instanceSchema": f"title: {title}\ntype: object\n"}, **fields}]}


def test_artifacts_have_their_class_their_properties_and_their_id(tmp_path):
    metadata = {"split_names": '["train"]', "span": 3.0, "fingerprint": "abc", "rows": 7}
    examples = artifact("tfx.Examples", uri="/in", name="12", metadata=metadata)
    call("Plain", tmp_path, {"examples": examples, "verdict": artifact("artifacts.GateVerdict", uri="/v")})
    (examples,), (verdict,) = SEEN["inputs"]["examples"], SEEN["inputs"]["verdict"]
    assert isinstance(examples, standard_artifacts.Examples)
    assert (examples.uri, examples.id, examples.split_names, examples.span) == ("/in", 12, '["train"]', 3)
    assert examples.get_string_custom_property("fingerprint") == "abc"
    assert examples.get_int_custom_property("rows") == 7
    assert verdict.TYPE_NAME == "artifacts.GateVerdict"


def test_an_id_that_is_no_number_is_left_out(tmp_path):
    # Without ML Metadata artifacts have other ids, and outputs are named after themselves.
    for name in ("0b5e6d2c-1f0a-4c8e-9d53-7f5f9f0c1a11", "examples"):
        call("Plain", tmp_path, {"examples": artifact("tfx.Examples", uri="/in", name=name)})
        assert SEEN["inputs"]["examples"][0].id == 0


def test_the_output_has_what_the_executor_set(tmp_path):
    written = call("Plain", tmp_path, outputs={"examples": artifact("tfx.Examples", uri="/out")})
    (examples,) = written["artifacts"]["examples"]["artifacts"]
    assert examples["uri"] == "/out" and json.dumps(written)
    assert examples["metadata"].pop("tfx_version")
    assert examples["metadata"] == {"split_names": '["train"]', "span": 3, "fingerprint": "abc", "rows": 0}


def test_parameters_have_the_declared_types(tmp_path):
    types = {"n": {"parameterType": "NUMBER_INTEGER"}, "x": {"parameterType": "NUMBER_DOUBLE"}}
    call("Plain", tmp_path, values={"n": 5.0, "x": 5.0, "t": "a"}, parameters=types)
    assert json.dumps(SEEN["properties"]) == '{"n": 5, "x": 5.0, "t": "a"}'


def test_executors_see_the_run_and_beam_its_flags(tmp_path):
    call("Plain", tmp_path)
    assert SEEN["id"] == "run-1" and SEEN["tmp"].startswith(str(tmp_path))
    call("WithBeam", tmp_path)
    assert "--x=1" in SEEN["flags"]


def test_the_log_has_what_tfx_and_our_executors_report(tmp_path):
    script = (
        f"from cluster import executor_call; executor_call.call({f'{__name__}.Logging'!r}, {{}}, {{}}, "
        f"flags=[], run_id='run-1', temporary={str(tmp_path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "reading" in done.stderr and "epoch 1/5: 3 of 9 loss=0.5" in done.stderr


def test_value_artifacts_are_read(tmp_path):
    (tmp_path / "value").write_text("7")
    call("Plain", tmp_path, {"n": artifact("tfx.Integer", uri=str(tmp_path / "value"))})
    assert SEEN["inputs"]["n"][0].value == 7


def test_an_engine_gets_copies_on_the_volume_and_outputs_return_from_it(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows").write_text("1")
    (tmp_path / "out").mkdir()
    source, target, remote = (standard_artifacts.Examples() for _ in range(3))
    source.uri, target.uri, remote.uri = str(tmp_path / "in"), str(tmp_path / "out"), "gs://bucket/x"
    volume = tmp_path / "volume"
    with shared_copies.use({"a": [source, remote]}, {"b": [target]}, str(volume)):
        assert (pathlib.Path(source.uri) / "rows").read_text() == "1"
        assert all(pathlib.Path(each.uri).parent == volume for each in (source, target))
        (pathlib.Path(target.uri) / "shard").write_text("2")
    assert (source.uri, target.uri, remote.uri) == (str(tmp_path / "in"), str(tmp_path / "out"), "gs://bucket/x")
    assert (tmp_path / "out" / "shard").read_text() == "2" and not volume.exists()
