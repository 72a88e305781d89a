"""Configuration files: valid and invalid values, and the error messages."""

import glob
import os
import re

import pydantic
import pytest
import yaml

from core.config import Config, dump_config, load_config
from core.errors import UserError

CONFIGS = os.path.join(os.path.dirname(__file__), "..", "..", "configs")


@pytest.fixture(name="file")
def _file(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("name: job\ndata:\n  train: reviews/train.tsv\n")
    return str(path)


@pytest.mark.parametrize("name", sorted(glob.glob("**/*.yaml", root_dir=CONFIGS, recursive=True)))
def test_every_file_under_configs_is_valid(name):
    assert load_config(os.path.join(CONFIGS, name)).name


def test_the_reference_job_has_the_settings_of_the_notebook():
    config = load_config(os.path.join(CONFIGS, "nsmc.yaml"))
    assert config.data.train.startswith("https://") and config.data.sample_size == 15000
    assert config.encoder.source == "hub" and config.encoder.handle == "bert_multi_cased"
    assert (config.trainer.epochs, config.trainer.batch_size, config.trainer.learning_rate) == (5, 32, 3e-5)
    assert load_config(os.path.join(CONFIGS, "nsmc.yaml"), ["data.sample_size=null"]).data.sample_size is None


def test_paths_are_relative_to_the_file_or_after_set_to_the_current_folder(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    config = load_config(file, ["data.test=other/test.tsv"])
    assert config.data.train == str(tmp_path / "reviews" / "train.tsv")
    assert config.data.test == str(tmp_path.parent / "other" / "test.tsv")


@pytest.mark.parametrize("handle", ["https://tfhub.dev/x/1", "gs://bucket/encoder", "bert_multi_cased"])
def test_addresses_and_catalogue_names_are_not_resolved_as_paths(file, handle):
    assert load_config(file, [f"encoder.handle={handle}"]).encoder.handle == handle


def test_values_are_frozen(file):
    with pytest.raises(pydantic.ValidationError):
        load_config(file).data.seed = 3


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("trainer.learning_rate=3e-5", lambda c: c.trainer.learning_rate, 3e-5),
        ("data.labels=[neg, pos]", lambda c: dict(c.data.labels), {"0": "neg", "1": "pos"}),
        ("data.text=review", lambda c: c.data.texts, ("review",)),
        ("data.text=[question, sentence]", lambda c: c.task.text_columns, ("question", "sentence")),
        ("data.labels={bad: 'no', good: yes it is}", lambda c: c.task.label_names, ("no", "yes it is")),
        ("data.header=[id, document, label]", lambda c: c.data.header, ("id", "document", "label")),
        (
            "gates.model.accuracy.min=0.9",
            lambda c: (c.gates.model["accuracy"].min, c.gates.model["accuracy"].max_drop),
            (0.9, 0.01),
        ),
        ("data.dev_fraction=0.5", lambda c: c.data.dev_fraction, 0.5),
    ],
)
def test_any_value_can_be_set(file, override, field, value):
    assert field(load_config(file, [override])) == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.epochs=0", ["trainer.epochs = 0", "greater than or equal to 1"]),
        ("data.dev_fraction=1", ["data.dev_fraction = 1", "less than 1"]),
        ("trainer.mode=both", ["trainer.mode = 'both'", "'fine_tune' or 'feature_based'"]),
        ("trainer.lr=1", ["trainer.lr: no such key", "learning_rate"]),
        ("optimiser.lr=1", ["optimiser: no such key; available: name, data, encoder, trainer"]),
        ("data.labels=[a, a]", ["labels: 1 class", "at least two"]),
        ("data.task=regression", ["score_range: is missing", "[0, 5]"]),
        ("trainer.threshold=1", ["trainer.threshold", "1"]),
        ("data.score_range=[0, 5]", ["score_range: has no effect", "task: regression"]),
        ("data.span=3", ["span: 3 has no effect", "contains no {SPAN}"]),
        ("data.encoding=cp037", ["data.encoding = 'cp037'", "as in ASCII"]),
        ("data.encoding=klingon", ["data.encoding = 'klingon'", "utf-8"]),
        ("data.header=[text, label]", ["'id'", "['text', 'label']"]),
        ("data.header=false", ["header", "list of column names"]),
        ("gates.model.f1.min=0.9", ["gates.model.f1: no such metric", "f1_"]),
        ("gates.model.accuracy.min=2", ["gates.model.accuracy.min = 2", "between 0 and 1"]),
        ("encoder.pretrain.heads=3", ["hidden: 128", "heads: 3"]),
        ("trainer=3", ["trainer = 3"]),
        ("trainer.epochs", ["KEY=VALUE"]),
        ("data.train=null", ["data.train = null"]),
        ("name=My Job", ["name = 'My Job'"]),
        ("data.labels={a: [", ["not valid YAML"]),
        ("data.train=\udcff.tsv", ["not UTF-8"]),
        ("data.dev_fraction=0.95", ["dev_fraction: 0.95", "test_fraction: 0.1"]),
        ("serving.dir=gs://bucket/models", ["serving.dir = 'gs://bucket/models'", "a folder"]),
        ("data.labels=[no, yes]", ["reads an unquoted name as false", "quotes"]),
    ],
)
def test_error_names_the_key_the_value_and_what_would_be_right(file, override, words):
    with pytest.raises(UserError) as error:
        load_config(file, [override])
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("trainer.lerning_rate", "trainer.learning_rate"),
        ("gates.data.min_row", "gates.data.min_rows"),
        ("encoder.pretrain.step", "encoder.pretrain.steps"),
        ("kubeflow.host_name", "kubeflow.host?"),
        ("gates.model.accuracy.max_dropp", "gates.model.accuracy.max_drop"),
        ("gates.serving.max_p50", "gates.serving.max_p50_ms"),
        ("trainr", "trainer"),
        # In the wrong section.
        ("data.epochs", "trainer.epochs"),
        ("epochs", "trainer.epochs"),
        ("gates.min_rows", "gates.data.min_rows"),
        ("data.learning_rate", "encoder.pretrain.learning_rate or trainer.learning_rate"),
        ("pretrain", "encoder.pretrain"),
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_misspelt_key_gets_a_suggestion(file, key, suggestion, in_file):
    if in_file:
        with open(file, encoding="utf-8") as stream:
            tree = yaml.safe_load(stream)
        *sections, name = key.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = 1
        with open(file, "w", encoding="utf-8") as stream:
            yaml.safe_dump(tree, stream)
    with pytest.raises(UserError) as error:
        load_config(file, [] if in_file else [f"{key}=1"])
    assert f"{key}: no such key; did you mean {suggestion}" in str(error.value)


def test_misspelt_metric_or_slice_gets_a_suggestion(file):
    with pytest.raises(UserError, match="gates.model.acuracy: no such metric; did you mean accuracy?"):
        load_config(file, ["gates.model.acuracy.min=0.5"])
    with pytest.raises(UserError, match="gates.slices.script:hangeul: no such slice; did you mean script:hangul"):
        load_config(file, ["gates.slices.script:hangeul.min=0.5"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"FILE: trainer\.epochs = 0: [^;]*"),
        (["trainer.epochs=-1"], r"--set trainer\.epochs = -1: [^;]*"),
        (["trainer.seed=a", "lr=1"], r"FILE: trainer\.epochs = 0: [^;]*; --set trainer\.seed = 'a': .*; --set lr: .*"),
        (["gates.model.acuracy.min=1"], r"--set gates\.model\.acuracy: no such metric; did you mean accuracy\?"),
    ],
)
def test_a_fault_after_set_is_not_blamed_on_the_file(file, overrides, message):
    with open(file, "a", encoding="utf-8") as stream:
        stream.write("trainer: {epochs: 0}\n")
    with pytest.raises(UserError) as error:
        load_config(file, overrides)
    assert re.fullmatch(message, str(error.value).replace(file, "FILE"))


def test_all_faults_are_in_one_message(file):
    with pytest.raises(UserError, match=r"trainer\.epochs.*data\.dev|data\.dev.*trainer\.epochs"):
        load_config(file, ["trainer.epochs=0", "data.dev_fraction=2"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"- 1\n", "should be a mapping of sections such as `data:`, not list"),
        (b"", "should be a mapping of sections"),
        (b"name: x\n", "data: missing"),
    ],
)
def test_broken_file_is_named_in_the_error(tmp_path, content, words):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        load_config(str(path))
    assert str(path) in str(error.value)


def test_missing_file_is_named_in_the_error():
    with pytest.raises(UserError, match="nowhere.yaml: No such file or directory"):
        load_config("nowhere.yaml")


def test_json_round_trip_keeps_everything(file):
    config = load_config(file, ["data.labels=[n, p]", "data.header=[id, document, label]"])
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", sorted(glob.glob("**/*.yaml", root_dir=CONFIGS, recursive=True)))
def test_saved_configuration_is_the_same_when_it_is_loaded_again(name, tmp_path, monkeypatch):
    config = load_config(
        os.path.join(CONFIGS, name), ["trainer.learning_rate=1e-9", "data.labels={'no': ☹, 'yes': '1'}"]
    )
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_config("config.yaml") == config


def test_secrets_are_not_saved_and_names_of_variables_are(file, tmp_path):
    notify = (
        "notify.webhook=https://hooks.example.com/s3cret",
        "notify.headers={Authorization: 'Bearer ${TOKEN}', X-Key: s3cret}",
    )
    text = dump_config(load_config(file, notify))
    assert "s3cret" not in text
    (tmp_path / "saved.yaml").write_text(text)
    saved = load_config(str(tmp_path / "saved.yaml")).notify
    assert saved.webhook == "${NOTIFY_WEBHOOK}"
    assert saved.headers == {"Authorization": "Bearer ${TOKEN}", "X-Key": "${NOTIFY_HEADERS_X_KEY}"}


@pytest.mark.parametrize(
    ("settings", "severity"),
    [
        ([], "fail"),
        (["trainer.threshold=0.5"], "fail"),
        (["trainer.threshold=auto"], "warn"),
        (["trainer.class_weights=balanced"], "warn"),
        (["trainer.class_weights=balanced", "gates.model.calibration_error.severity=fail"], "fail"),
    ],
)
def test_probabilities_that_are_moved_on_purpose_only_warn_of_their_calibration(settings, severity):
    bound = load_config(os.path.join(CONFIGS, "sample.yaml"), settings).gates.model["calibration_error"]
    assert (bound.severity, bound.max, bound.max_rise) == (severity, 0.2, 0.03)
