"""Pushes a blessed model: TFX's executor copies it, and `publication` puts the copy into serving atomically."""

import logging
import os
import uuid
from typing import Any

from tfx import types
from tfx.components.pusher import executor as stock
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from artifacts import model_files
from components import execution
from components.pusher import additions, origin, properties, publication
from components.pusher.record import PushRecord, Rollback
from core import checks
from core.errors import UserError

BASELINE = "baseline"

GATE = "push"


class Executor(stock.Executor):
    """TFX's executor, with a hidden folder in between."""

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
        if not self.CheckBlessing(input_dict):
            super().Do(input_dict, output_dict, exec_properties)
            return
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        config, serving_dir = properties.custom_config(exec_properties), properties.base_directory(exec_properties)
        record = self._record(input_dict, config)
        with publication.exclusive(serving_dir) as hidden:
            rollback = publication.read_state(serving_dir).rolled_back.get(record.model_sha256)
            if rollback is not None and not config.get(properties.ALLOW_ROLLED_BACK):
                self._refuse(pushed, rollback)
                return
            _check_baseline_in_serving(serving_dir, input_dict, record.model_sha256)
            # The stock executor pushes into the hidden folder and also fills the output artifact.
            super().Do(input_dict, output_dict, properties.pushing_into(exec_properties, hidden))
            version = publication.newest_version_if(serving_dir, record.model_sha256)
            pushed.set_int_custom_property(properties.ALREADY_SERVED, int(version is not None))
            if version is None:
                (staged,) = model_files.served_versions(hidden)
                origin.copy_profile(input_dict, staged)
                additions.write(input_dict, staged, config.get(properties.NAME) or "")
                version = publication.publish(staged, serving_dir, record)
            publication.retire(serving_dir, config.get(properties.KEEP), hidden)
        logging.info("Serving version %s in %s.", version, serving_dir)
        self._MarkPushed(pushed, os.path.join(serving_dir, version), version)

    def _record(self, input_dict: dict[str, list[types.Artifact]], config: dict[str, Any]) -> PushRecord:
        return PushRecord(
            push_id=config.get(properties.PUSH_ID) or uuid.uuid4().hex,
            model_sha256=model_files.model_sha256(self.GetModelPath(input_dict)),
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
        self._MarkNotPushed(pushed)


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
