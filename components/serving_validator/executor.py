"""Sends requests to the exported model, checks its answers, and writes the blessing."""

import os
from typing import Any, Sequence, Union

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from artifacts.blessing import bless
from artifacts.model_run import GoldenAnswers, read_golden
from components import gate_config
from components.serving_validator import judge, model_server, process, references, request_set
from components.serving_validator.model_server import NotRun, Served
from core.checks import Check
from core.config import ServingGateConfig
from core.errors import UserError
from schema import features
from schema.task import Task

MODEL = "model"
MODEL_RUN = "model_run"
EXAMPLES = "examples"
BLESSING = "blessing"

# Enough for reviews of various lengths; each is sent alone about three times.
_REAL_ROWS = 32


class Executor(base_executor.BaseExecutor):
    """Writes an `InfraBlessing` with `checks.json`; a bad model fails checks and raises no error."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Validates the model.

        Raises:
          UserError: the test split is empty.
        """
        task, bounds = gate_config.load(exec_properties[gate_config.PARAMETER], ServingGateConfig)
        model, model_run, examples = (
            artifact_utils.get_single_instance(input_dict[key]) for key in (MODEL, MODEL_RUN, EXAMPLES)
        )
        golden = read_golden(model_run.uri)
        recorded = [tuple(text.encode("utf-8") for text in row) for row in golden.rows]
        requests = request_set.build_requests(_real_rows(examples, task), recorded)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        bless(blessing, _checks(path_utils.serving_model_path(model.uri), requests, golden, bounds, task))


def _checks(
    model_path: str,
    requests: Sequence[request_set.Request],
    golden: GoldenAnswers,
    bounds: ServingGateConfig,
    task: Task,
) -> list[Check]:
    transcript = process.query_in_fresh_process(model_path, requests, bounds)
    if transcript.fault:
        served: Union[NotRun, Served] = NotRun("the model failed in a fresh process")
    else:
        served = model_server.query_model_server(model_path, requests, bounds)
    outside_files = references.outside_files(model_path) if transcript.loaded else []
    return judge.judge(transcript, outside_files, served, golden, bounds, task)


def _real_rows(examples: types.Artifact, task: Task) -> list[request_set.Texts]:
    """Returns up to `_REAL_ROWS` rows of the test split."""
    folder = artifact_utils.get_split_uri([examples], features.TEST_SPLIT)
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(os.path.join(folder, "*"))), compression_type="GZIP")
    parsed = [tf.train.Example.FromString(record) for record in records.take(_REAL_ROWS).as_numpy_iterator()]
    if not parsed:
        raise UserError("data.test: no rows to query the exported model with")
    return [
        tuple(example.features.feature[name].bytes_list.value[0] for name in task.text_features) for example in parsed
    ]
