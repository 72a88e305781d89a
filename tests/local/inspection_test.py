"""`inspect`: tokens and shapes of a real encoder, and counts and rows of real files."""

import io
import json
import os
import shutil

import pytest
import rich.console
import tensorflow as tf

import local_runner
from artifacts import encoder as encoder_artifact
from components.tsv_example_gen import executor
from core import config
from core.errors import UserError
from local import inspection
from tests import encoders


@pytest.fixture(scope="module", name="encoder")
def _encoder(tmp_path_factory):
    return encoders.save(str(tmp_path_factory.mktemp("encoder") / "encoder"))


def show(call, *arguments):
    console = rich.console.Console(file=io.StringIO(), width=200)
    assert call(*arguments, console) == 0
    return console.file.getvalue()


def test_tokens_are_the_pieces_of_the_ids(encoder):
    seen = inspection.describe_sentence(["정말 재미있는 영화"], encoder)
    assert seen["tokens"][0] == "[CLS]" and seen["tokens"][-1] == "[SEP]"
    assert "".join(seen["tokens"][1:-1]).replace("##", "") == "정말재미있는영화"
    ids = seen["inputs"]["input_word_ids"]["values"]
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(encoder))
    assert preprocess.tokenize(tf.constant(["정말 재미있는 영화"])).merge_dims(1, -1)[0].numpy().tolist() == ids[1:-1]
    assert seen["inputs"]["input_mask"]["values"] == [1] * len(ids)
    assert seen["inputs"]["input_type_ids"]["values"] == [0] * len(ids)


def test_shapes_are_those_of_the_encoder(encoder):
    seen = inspection.describe_sentence(["굿"], encoder)
    rows, length = seen["inputs"]["input_word_ids"]["shape"]
    hidden = encoders.CONFIG.hidden
    outputs = seen["outputs"]
    assert rows == 1 and outputs["pooled_output"]["shape"] == [1, hidden]
    assert outputs["sequence_output"]["shape"] == outputs["encoder_outputs"]["shape"] == [1, length, hidden]
    assert outputs["encoder_outputs"]["count"] == encoders.CONFIG.layers


def test_the_command_prints_lines_or_json(encoder, capfd):
    assert local_runner.main(["inspect", "굿", "--encoder", encoder]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "encoder",
        "tokens",
        "input_word_ids",
        "input_mask",
        "input_type_ids",
        "pooled_output",
        "sequence_output",
        "encoder_outputs",
    ]
    assert "굿" in lines[1] and "(1, 16)" in lines[5] and "1 x (1, " in lines[7]
    # With an encoder, `data` is a sentence.
    assert local_runner.main(["inspect", "data", "--encoder", encoder, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["encoder"] == encoder


def test_the_newest_encoder_of_the_run_root_is_used(encoder, tmp_path):
    place = "artifacts/EncoderPretrainer/encoder/1/Format-Serving"
    for time, name in ((2, "a"), (9, "b"), (5, "c")):
        folder = tmp_path / name / place
        folder.mkdir(parents=True)
        shutil.copy(os.path.join(encoder, encoder_artifact.CARD), folder)
        os.utime(folder / encoder_artifact.CARD, (time, time))
    assert inspection.newest_encoder(str(tmp_path)) == str(tmp_path / "b" / place)
    with pytest.raises(UserError, match="no run has made an encoder there yet"):
        inspection.newest_encoder(str(tmp_path / "none"))


def test_a_damaged_encoder_is_one_sentence(tmp_path, capfd):
    folder = encoders.save(str(tmp_path / "encoder"))
    os.truncate(os.path.join(folder, "encoder", "saved_model.pb"), 100)
    assert local_runner.main(["inspect", "굿", "--encoder", folder]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "can't be loaded as a SavedModel" in error


def write_job(folder, sample_size):
    rows = [f"{n}\treview number {n}\t{n % 2}" for n in range(300)]
    rows[3:3] = ["x\t\t1", "broken", "y\ttext\t7"]
    (folder / "train.tsv").write_text("id\tdocument\tlabel\n" + "".join(row + "\n" for row in rows))
    (folder / "test.tsv").write_text("id\tdocument\tlabel\n1\tone\t1\n2\ttwo\t0\n")
    size = "null" if sample_size is None else sample_size
    text = f"name: job\ndata: {{train: train.tsv, test: test.tsv, sample_size: {size}}}\n"
    (folder / "job.yaml").write_text(text)
    return config.load_config(str(folder / "job.yaml"))


def test_data_has_shapes_first_rows_and_rejected_rows(tmp_path):
    output = show(inspection.inspect_data, write_job(tmp_path, None))
    assert "303 rows x 3 columns (id, document, label)\n300 can be used, 3 are rejected" in output
    assert "empty_text 1, the first in line 5: 'x\\t\\t1'" in output.replace("\\\\t", "\\t")
    assert "wrong_column_count 1, the first in line 6: 'broken'" in output
    assert "bad_label 1, the first in line 7" in output
    assert "review number 4" in output and "review number 5" not in output and "after sampling" not in output
    assert "2 rows x 3 columns" in output and "splits: test 2" in output


def test_data_after_sampling_is_the_sample_of_a_run(tmp_path):
    settings = write_job(tmp_path, 40)
    output = show(inspection.inspect_data, settings)
    assert "after sampling (data.sample_size = 40, data.seed = 0)\n40 rows x 3 columns" in output
    ranges = executor.make_plan(settings.data).ranges
    rows = [outcome for part in ranges for _, outcome in executor.parsed_records(part, settings.data, settings.task)]
    hashes = sorted((executor.sample_hash(row, settings.data), row.id) for row in rows if hasattr(row, "texts"))
    # The test file has two rows, which are not sampled.
    kept = {identity for _, identity in hashes[:45]}
    shown = [line.split()[0] for line in output.split("after sampling")[1].splitlines() if "review number" in line]
    assert len(shown) == 5 and set(shown) <= kept
    counts = [int(part.split()[1]) for part in output.split("splits: ")[1].splitlines()[0].split(", ")]
    assert sum(counts) == 40


def test_a_dev_file_has_its_own_table(tmp_path, capfd):
    write_job(tmp_path, None)
    (tmp_path / "dev.tsv").write_text("id\tdocument\tlabel\n1\tone\t1\n2\ttwo\t0\n3\tthree\t0\n")
    words = [
        "inspect",
        "data",
        "--json",
        "--config",
        str(tmp_path / "job.yaml"),
        "--set",
        f"data.dev={tmp_path}/dev.tsv",
    ]
    assert local_runner.main(words) == 0
    tables = {table["role"]: table for table in map(json.loads, capfd.readouterr().out.splitlines())}
    assert {role: table["splits"] for role, table in tables.items()} == {
        "train": {"train": 300},
        "dev": {"dev": 3},
        "test": {"test": 2},
    }


def test_data_as_json_is_one_object_per_role(tmp_path, capfd):
    write_job(tmp_path, 40)
    assert local_runner.main(["inspect", "data", "--json", "--config", str(tmp_path / "job.yaml")]) == 0
    train, test = map(json.loads, capfd.readouterr().out.splitlines())
    assert (train["role"], train["rows"], train["accepted"]) == ("train", 303, 300)
    assert train["columns"] == ["id", "document", "label"]
    assert train["rejected"]["empty_text"] == {"count": 1, "first": "line 5: 'x\\t\\t1'"}
    assert train["first_rows"][1] == {"id": "1", "texts": ["review number 1"], "label": "긍정"}
    assert (train["sample"]["rows"], len(train["sample"]["first_rows"]), sum(train["splits"].values())) == (40, 5, 40)
    assert (test["role"], test["files"]) == ("test", [str(tmp_path / "test.tsv")])
    assert (test["sample"], test["splits"], test["rejected"]) == (None, {"test": 2}, {})
