"""The pipeline on a Flink that the test starts gives the rows and statistics of the direct runner.

.venv/bin/python -m pytest -m slow tests/slow/flink_test.py
"""

import glob
import os
import shutil
import socket
import subprocess
import sys

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv

from core import config
from local_runner import main
from tests.slow.runs import REPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="no java on PATH"),
    pytest.mark.skipif(shutil.which("mvn") is None, reason="no mvn on PATH, which fetches Flink"),
]
SCRIPT = os.path.join(REPO, "scripts", "flink.py")
# A bound that no sample meets: DataGate stops the run behind the two components that this is about.
STOP = "gates.data.min_script_shares={Hangul: 1.0}"


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    """Settings of the section `beam`; the jars are kept in build/flink for the next time."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    folder = os.path.join(REPO, "build", "flink-test")
    options = ["--folder", folder, "--port", str(port)]
    subprocess.run([sys.executable, SCRIPT, "up", *options], check=True)
    yield [
        "beam.runner=flink",
        f"beam.address=localhost:{port}",
        f"beam.job_server_jar={folder}/job-server.jar",
    ]
    subprocess.run([sys.executable, SCRIPT, "down", *options], check=True)
    assert not os.path.exists(os.path.join(folder, "tmp"))


def run(root, *settings):
    """Runs the sample up to DataGate; returns the examples of each split, sorted, and their statistics."""
    sample = os.path.join(REPO, "configs", "sample.yaml")
    assert main(["run", "--config", sample, "--root", str(root), "--set", STOP, *settings]) == 2
    artifacts = root / config.load_config(sample).name / "artifacts"
    examples, statistics = {}, {}
    for split in ("train", "dev", "test"):
        shards = glob.glob(f"{artifacts}/TsvExampleGen/examples/*/Split-{split}/*.gz")
        records = tf.data.TFRecordDataset(shards, compression_type="GZIP")
        examples[split] = sorted(record.numpy() for record in records)
        (file,) = glob.glob(f"{artifacts}/StatisticsGen/statistics/*/Split-{split}/FeatureStats.pb")
        statistics[split] = tfdv.load_stats_binary(file).datasets[0]
    return examples, statistics


def test_flink_gives_the_rows_and_statistics_of_the_direct_runner(flink, tmp_path):
    examples, statistics = run(tmp_path / "direct")
    on_flink, flinks_statistics = run(tmp_path / "flink", *flink)
    assert on_flink == examples and all(examples.values())
    for split, dataset in statistics.items():
        other = flinks_statistics[split]
        assert other.num_examples == dataset.num_examples
        features = {feature.path.step[0]: feature for feature in other.features}
        for feature in dataset.features:
            found = features[feature.path.step[0]]
            assert found.type == feature.type
            assert found.string_stats.unique == feature.string_stats.unique
            assert found.num_stats.mean == pytest.approx(feature.num_stats.mean, abs=1e-9)
