"""Pushes a blessed model: copies it into a hidden folder, from which `publication` puts it into serving atomically."""

import logging
import os
import uuid
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from artifacts import model_files
from components import execution
from components.pusher import additions, origin, properties, publication
from components.pusher.record import PushRecord, Rollback
from core import checks
from core.errors import UserError

BASELINE = "baseline"

GATE = "push"

_PUSHED = "pushed"


class Executor(base_executor.BaseExecutor):
    """Sets the properties of the output as TFX's executor does, which imports all of TFX's components."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model if it has all blessings; otherwise writes nothing to the destination.

        A model that is identical to the newest version is not copied again, so that the repetition of a run that was
        killed right after its push does not add a second version. A model that was rolled back is not pushed again
        without `allow_rolled_back`; `checks.json` in the output's folder then has the reason.

        Raises:
          UserError: the destination can't be written, its state can't be read, or another model was pushed since the
            gates compared this one with the model in serving.
        """
        pushed = artifact_utils.get_single_instance(output_dict[properties.PUSHED_MODEL])
        if not _is_blessed(input_dict):
            logging.info("Not pushed: the model is not blessed.")
            pushed.set_int_custom_property(_PUSHED, 0)
            return
        config, serving_dir = properties.custom_config(exec_properties), properties.base_directory(exec_properties)
        model_path = properties.model_path(input_dict)
        record = self._record(input_dict, config, model_path)
        with publication.exclusive(serving_dir) as hidden:
            rollback = publication.read_state(serving_dir).rolled_back.get(record.model_sha256)
            if rollback is not None and not config.get(properties.ALLOW_ROLLED_BACK):
                self._refuse(pushed, rollback)
                return
            _check_baseline_in_serving(serving_dir, input_dict, record.model_sha256)
            io_utils.copy_dir(model_path, pushed.uri)
            version = publication.newest_version_if(serving_dir, record.model_sha256)
            pushed.set_int_custom_property(properties.ALREADY_SERVED, int(version is not None))
            if version is None:
                staged = os.path.join(hidden, "1")
                io_utils.copy_dir(model_path, staged)
                origin.copy_profile(input_dict, staged)
                additions.write(input_dict, staged, config.get(properties.NAME) or "")
                version = publication.publish(staged, serving_dir, record)
            publication.retire(serving_dir, config.get(properties.KEEP), hidden)
        logging.info("Serving version %s in %s.", version, serving_dir)
        pushed.set_int_custom_property(_PUSHED, 1)
        pushed.set_string_custom_property("pushed_destination", os.path.join(serving_dir, version))
        pushed.set_string_custom_property("pushed_version", version)

    def _record(
        self, input_dict: dict[str, list[types.Artifact]], config: dict[str, Any], model_path: str
    ) -> PushRecord:
        return PushRecord(
            push_id=config.get(properties.PUSH_ID) or uuid.uuid4().hex,
            model_sha256=model_files.model_sha256(model_path),
            origin=origin.gather(input_dict, execution.run_id(self._context)),
        )

    def _refuse(self, pushed: types.Artifact, rollback: Rollback) -> None:
        check = checks.Check(
            gate=GATE,
            check="rolled_back",
            passed=False,
            value=str(rollback.from_version),
            bound=None,
            reason=(
                f"this model was version {rollback.from_version} until it was rolled back at {rollback.time}; "
                "set serving.allow_rolled_back=true to push it again"
            ),
        )
        logging.warning("Not pushed: %s", check.reason)
        checks.write_checks(pushed.uri, [check])
        pushed.set_int_custom_property(_PUSHED, 0)


def _is_blessed(input_dict: dict[str, list[types.Artifact]]) -> bool:
    """Whether every gate that is connected has blessed the model."""
    connected = [input_dict[key] for key in properties.BLESSINGS if input_dict.get(key)]
    return all(artifact_utils.get_single_instance(each).get_int_custom_property("blessed") == 1 for each in connected)


def _check_baseline_in_serving(serving_dir: str, input_dict: dict[str, list[types.Artifact]], candidate: str) -> None:
    """Raises UserError if another model was pushed since the gates compared the candidate with the one in serving."""
    served = model_files.served_versions(serving_dir)
    if not served or not input_dict.get(BASELINE):
        return
    newest = served[-1]
    compared = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[BASELINE]))
    if model_files.model_sha256(newest) not in (candidate, model_files.model_sha256(compared)):
        raise UserError(
            f"serving.dir = {serving_dir!r}: version {os.path.basename(newest)} was pushed after this run's gates "
            "compared the candidate with an earlier model; run again to compare with the new one"
        )
