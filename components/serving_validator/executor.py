"""Asks the exported model, judges its answers, and writes the blessing."""

import json
import os
from typing import Any, Sequence

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from artifacts.model_run import GoldenAnswers, read_golden
from components.serving_validator import judge, model_server, process, references, request_set
from core import checks
from core.config import ServingGateConfig
from core.errors import UserError
from schema import features
from schema.task import Task, task_from_json

MODEL = "model"
MODEL_RUN = "model_run"
EXAMPLES = "examples"
BLESSING = "blessing"
GATE = "gate"

# Names that TFX's InfraValidator gives to the marker in a blessing's folder.
_BLESSED_FILE = "INFRA_BLESSED"
NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"

# Enough for reviews of many lengths; each is asked about three times alone.
_REAL_ROWS = 32


class Executor(base_executor.BaseExecutor):
    """Writes an `InfraBlessing` with `checks.json`; a bad model is a verdict, never an exception."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Validates the model.

        Raises:
          UserError: the test split holds no row to ask.
        """
        gate = json.loads(exec_properties[GATE])
        bounds, task = ServingGateConfig(**gate["serving"]), task_from_json(gate["task"])
        model, model_run, examples = (
            artifact_utils.get_single_instance(input_dict[key]) for key in (MODEL, MODEL_RUN, EXAMPLES)
        )
        golden = read_golden(model_run.uri)
        requests = request_set.build_requests(_real_rows(examples), [text.encode("utf-8") for text in golden.text])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        _bless(blessing, _checks(path_utils.serving_model_path(model.uri), requests, golden, bounds, task))


def _checks(
    model_path: str,
    requests: Sequence[request_set.Request],
    golden: GoldenAnswers,
    bounds: ServingGateConfig,
    task: Task,
) -> list[checks.Check]:
    answer = process.ask_in_fresh_process(model_path, requests, bounds)
    if answer.fault:
        served = model_server.NotRun("the model did not come through a fresh process")
    else:
        served = model_server.ask_model_server(model_path, requests, bounds)
    outside_files = references.outside_files(model_path) if answer.loaded else []
    return judge.judge(answer, outside_files, served, golden, bounds, task)


def _real_rows(examples: types.Artifact) -> list[bytes]:
    """Some texts of the test split, as many as there are up to `_REAL_ROWS`."""
    folder = artifact_utils.get_split_uri([examples], features.TEST_SPLIT)
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(os.path.join(folder, "*"))), compression_type="GZIP")
    parsed = [tf.train.Example.FromString(record) for record in records.take(_REAL_ROWS).as_numpy_iterator()]
    if not parsed:
        raise UserError("data.test: holds no row that the exported model could be asked")
    return [example.features.feature[features.DOCUMENT].bytes_list.value[0] for example in parsed]


def _bless(blessing: types.Artifact, made: Sequence[checks.Check]) -> None:
    blessed = not any(check.blocks for check in made)
    checks.write_checks(blessing.uri, made)
    with open(os.path.join(blessing.uri, _BLESSED_FILE if blessed else NOT_BLESSED_FILE), "wb"):
        pass
    blessing.set_int_custom_property("blessed", int(blessed))
