"""BaselineModel: the choice of the model, the artifact, and the cache."""

import os
import shutil

import pytest
from tfx.dsl.components.common import importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.portable import data_types
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from artifacts import model_card, model_files
from artifacts.baseline import NOTHING_SERVED, why_not_compared
from components.baseline_model import driver, executor
from components.baseline_model.component import BaselineModel
from core.errors import UserError
from schema.task import make_task
from tests import saved_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two different models, saved once."""
    root = tmp_path_factory.mktemp("models")
    return [saved_models.save_artifact(str(root / name), seed) for seed, name in enumerate("ab")]


def serve(model, serving_dir, version):
    folder = shutil.copytree(path_utils.serving_model_path(model.uri), serving_dir / version)
    record = folder / model_files.PUSH_RECORD
    record.parent.mkdir(exist_ok=True)
    record.write_text("{}")
    return folder


def run_executor(model, serving_dir, tmp_path, **properties):
    baseline = standard_artifacts.Model()
    baseline.uri = str(tmp_path / "baseline")
    os.makedirs(baseline.uri)
    executor.Executor().Do(
        {"model": [model]}, {"baseline": [baseline]}, {"serving_dir": str(serving_dir), **properties}
    )
    return baseline


def fingerprint(model, serving_dir):
    info = data_types.ExecutionInfo(input_dict={"model": [model]}, exec_properties={"serving_dir": str(serving_dir)})
    return driver.Driver(None).run(info).exec_properties["fingerprint"].string_value


def test_candidate_is_the_baseline_if_nothing_is_in_serving(models, tmp_path):
    baseline = run_executor(models[0], tmp_path / "serving", tmp_path)
    assert baseline.get_string_custom_property("source") == "candidate"
    assert baseline.get_string_custom_property("version") == ""
    assert model_files.tree_sha256(baseline.uri) == model_files.tree_sha256(models[0].uri)


def test_version_with_the_largest_number_is_the_baseline(models, tmp_path):
    serve(models[0], tmp_path / "serving", "9")
    serve(models[1], tmp_path / "serving", "10")
    (tmp_path / "serving" / ".push-half").mkdir()
    (tmp_path / "serving" / "11").write_text("a file is not a version")
    baseline = run_executor(models[0], tmp_path / "serving", tmp_path)
    assert baseline.get_string_custom_property("source") == "serving"
    assert baseline.get_string_custom_property("version") == "10"
    served = path_utils.serving_model_path(models[1].uri)
    assert model_files.model_sha256(path_utils.serving_model_path(baseline.uri)) == model_files.model_sha256(served)
    assert saved_models.predict(path_utils.serving_model_path(baseline.uri), [b"x"])["logit"] == pytest.approx(
        saved_models.predict(served, [b"x"])["logit"]
    )


def test_fingerprint_depends_on_the_model_in_serving(models, tmp_path):
    assert fingerprint(models[0], tmp_path) == NOTHING_SERVED
    serve(models[0], tmp_path, "1")
    assert fingerprint(models[0], tmp_path) == NOTHING_SERVED
    other = fingerprint(models[1], tmp_path)
    assert other == model_files.model_sha256(path_utils.serving_model_path(models[0].uri))


def test_a_served_model_with_other_labels_is_not_compared_and_both_are_named(models, tmp_path):
    candidate = saved_models.save_artifact(str(tmp_path / "candidate"))
    for path, labels in (
        (path_utils.serving_model_path(candidate.uri), {"1": "bad", "2": "fair", "3": "good"}),
        (serve(models[1], tmp_path / "serving", "7"), {"0": "neg", "1": "pos"}),
    ):
        model_card.write(str(path), model_card.ModelCard(make_task(("text",), labels), {}))
    baseline = run_executor(candidate, tmp_path / "serving", tmp_path)
    assert baseline.get_string_custom_property("source") == "candidate"
    assert why_not_compared(baseline) == (
        "the model in serving, version 7, predicts neg, pos and this one bad, fair, good"
    )
    assert fingerprint(candidate, tmp_path / "serving") == why_not_compared(baseline)


def test_broken_version_is_named(models, tmp_path):
    folder = serve(models[0], tmp_path, "7")
    (folder / "saved_model.pb").unlink()
    for attempt in (fingerprint, lambda *a: run_executor(*a, tmp_path)):
        with pytest.raises(UserError, match=f"saved_model.pb is missing in the newest version {folder}"):
            attempt(models[1], tmp_path)


def test_push_during_the_run_is_an_error(models, tmp_path):
    serve(models[0], tmp_path / "serving", "1")
    with pytest.raises(UserError, match="serving.dir.*run again"):
        run_executor(models[1], tmp_path / "serving", tmp_path, fingerprint=NOTHING_SERVED)


@pytest.mark.parametrize("location", ["gs://bucket/serving", __file__])
def test_serving_dir_should_be_a_folder(location):
    with pytest.raises(UserError, match="serving.dir"):
        model_files.served_versions(location)


def test_tree_digest_depends_on_names_contents_and_folders(tmp_path):
    def digest(files, exclude=()):
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        for name, content in files.items():
            path = tmp_path / "t" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return model_files.tree_sha256(str(tmp_path / "t"), exclude)

    trees = [{"a": "1", "b": ""}, {"a": "1"}, {"a": "2"}, {"b": "1"}, {"d/a": "1"}, {"a": "", "b": "1"}]
    assert len({digest(tree) for tree in trees}) == len(trees)
    assert digest({"a": "1", "extra/x": "9"}, ["extra/x"]) == digest({"a": "1"})
    assert digest({"a": "1", "extra/y": "9"}, ["extra/x"]) != digest({"a": "1"})


def test_digest_depends_on_label_names_but_not_on_the_files_of_a_push(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "saved_model.pb").write_text("graph")
    before = model_files.model_sha256(str(tmp_path))
    (tmp_path / model_files.PUSH_RECORD).write_text("{}")
    assert model_files.model_sha256(str(tmp_path)) == before
    (tmp_path / model_card.CARD_FILE).write_text('{"labels": {"0": "bad"}}')
    assert model_files.model_sha256(str(tmp_path)) != before


def test_cache_depends_on_the_serving_folder(models, tmp_path):
    serving_dir = tmp_path / "serving"

    def run():
        candidate = importer.Importer(models[0].uri, standard_artifacts.Model).with_id("candidate")
        baseline = BaselineModel(candidate.outputs["result"], str(serving_dir))
        local_dag_runner.LocalDagRunner().run(
            pipeline.Pipeline(
                "baseline",
                str(tmp_path / "root"),
                metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db")),
                components=[candidate, baseline],
                enable_cache=True,
            )
        )
        return len(os.listdir(tmp_path / "root" / "BaselineModel" / "baseline"))

    assert run() == 1
    assert run() == 1
    serve(models[0], serving_dir, "1")
    assert run() == 1, "the same model in serving should hit the cache"
    serve(models[1], serving_dir, "2")
    assert run() == 2, "another model in serving should miss it"
    assert run() == 2
