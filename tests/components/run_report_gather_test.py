"""What the page shows beyond the summary, read from artifacts on disk."""

import json

import tensorflow as tf
from tfx.types import standard_artifacts

from artifacts.examples import Ingest, write_ingest
from components.run_report import gather
from components.run_report.gather import RunArtifacts, SampleRow


def write_examples(folder):
    """An Examples artifact with five training rows in two shards, no dev rows, and a rejected row."""
    examples = standard_artifacts.Examples()
    examples.uri = str(folder)
    split = folder / "Split-train"
    split.mkdir(parents=True)
    for shard, rows in enumerate((range(3), range(3, 5))):
        with tf.io.TFRecordWriter(str(split / f"data-0000{shard}-of-00002.gz"), "GZIP") as writer:
            for row in rows:
                example = tf.train.Example()
                example.features.feature["id"].bytes_list.value.append(str(row).encode())
                example.features.feature["document"].bytes_list.value.append(f"영화 {row}".encode())
                example.features.feature["label"].int64_list.value.append(row % 2)
                writer.write(example.SerializeToString())
    (folder / "rejected").mkdir()
    rejected = {"file": "a.tsv", "line": 7, "reason": "empty_text", "raw": "7\t\t1"}
    (folder / "rejected" / "rows-00000-of-00001.jsonl").write_text(json.dumps(rejected) + "\n")
    write_ingest(str(folder), Ingest({"train": {"accepted": 5, "rejected": {}}}, 2, {"train": ["a.tsv"]}, None, "f00d"))
    return examples


def test_rows_of_each_split_and_rejected_rows_are_read(tmp_path):
    examples = write_examples(tmp_path / "examples")
    details = gather.read_details(RunArtifacts(examples=examples), ("부정", "긍정"))
    assert details.samples["train"] == [
        SampleRow("0", "영화 0", 0),
        SampleRow("1", "영화 1", 1),
        SampleRow("2", "영화 2", 0),
    ]
    assert details.samples["dev"] == []
    assert [(row["line"], row["raw"]) for row in details.rejected] == [(7, "7\t\t1")]
    assert details.rejected_path == str(tmp_path / "examples" / "rejected")
    assert (details.ingest.fingerprint, details.label_names) == ("f00d", ("부정", "긍정"))


def test_a_run_without_artifacts_has_no_details():
    assert gather.read_details(RunArtifacts()) == gather.Details()
