"""What a pushed version has beside the model: a page for people, and requests to warm up with."""

import os
from typing import Mapping

from tfx import types
from tfx.types import artifact_utils

from artifacts import evaluation, model_card, model_files
from components.pusher import origin, properties, warm_up
from components.run_report import gather, model_page
from core.files import atomic_write

# `gather.RunArtifacts` -> the Pusher's input.
_ARTIFACTS = {
    "examples": origin.EXAMPLES,
    "data_verdict": origin.DATA_VERDICT,
    "encoder": origin.ENCODER,
    "model": properties.MODEL,
    "model_run": origin.MODEL_RUN,
    "model_blessing": properties.MODEL_BLESSING,
    "serving_blessing": properties.INFRA_BLESSING,
}


def write(input_dict: Mapping[str, list[types.Artifact]], model_path: str, name: str) -> None:
    """Writes both into a model's folder; neither without the model's card, which models of other pipelines lack.

    Args:
      input_dict: the executor's inputs; any of them may be missing.
      model_path: the folder of the copied model.
      name: name of the pipeline.
    """
    if not os.path.exists(os.path.join(model_path, model_card.CARD_FILE)):
        return
    given = {field: input_dict[key] for field, key in _ARTIFACTS.items() if input_dict.get(key)}
    artifacts = gather.RunArtifacts(
        **{field: artifact_utils.get_single_instance(each) for field, each in given.items()}
    )
    task = model_card.read(model_path).task
    warm_up.write(model_path, name, len(task.text_inputs))
    evaluated = evaluation.read(artifacts.model_blessing.uri) if artifacts.model_blessing else None
    profile = gather.read_profile(artifacts.data_verdict)
    with atomic_write(os.path.join(model_path, model_files.MODEL_PAGE)) as stream:
        stream.write(model_page.render(gather.summarise(name, artifacts), evaluated, profile, model_path))
