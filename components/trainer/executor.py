"""Executor of the Trainer for students."""

from typing import Any

from tfx import types
from tfx.components.trainer import executor, fn_args_utils
from tfx.types import artifact_utils

from artifacts import teacher_labels

TEACHER_LABELS = "teacher_labels"


class Executor(executor.GenericExecutor):
    """TFX's executor, which also passes the files of the teachers' labels to `run_fn`."""

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> fn_args_utils.FnArgs:
        arguments = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        folder = artifact_utils.get_single_uri(input_dict[TEACHER_LABELS])
        arguments.teacher_files = teacher_labels.patterns(folder, teacher_labels.UNLABELLED_SPLIT)
        return arguments
