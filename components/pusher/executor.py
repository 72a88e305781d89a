"""Pushes a blessed model: TFX's executor copies it, `publication` puts the copy in serving in one step."""

import logging
import os
import uuid
from typing import Any

from tfx import types
from tfx.components.pusher import executor as stock
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import model_files
from components.pusher import publication


class Executor(stock.Executor):
    """TFX's executor, pushing into a hidden folder first."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model where all blessings say so, and writes nothing to the destination otherwise.

        A model that is already the newest version, byte by byte, is not copied again: a run that was
        killed right after its push finishes without a second version.

        Raises:
          UserError: the destination can't be written.
        """
        if not self.CheckBlessing(input_dict):
            super().Do(input_dict, output_dict, exec_properties)
            return
        serving_dir = publication.base_directory(exec_properties)
        config = publication.parse_custom_config(exec_properties)
        digest = model_files.model_sha256(self.GetModelPath(input_dict))
        with publication.exclusive(serving_dir) as staging:
            # The stock executor does what it always does, only elsewhere; it fills the output artifact as well.
            super().Do(input_dict, output_dict, _pushing_into(exec_properties, staging))
            version = publication.version_of(serving_dir, digest)
            if version is None:
                record = publication.PushRecord(config.get(publication.PUSH_ID) or uuid.uuid4().hex, digest)
                version = publication.publish(staging, serving_dir, record)
            publication.retire(serving_dir, config.get(publication.KEEP))
        logging.info("Serving version %s in %s.", version, serving_dir)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        self._MarkPushed(pushed, os.path.join(serving_dir, version), version)


def _pushing_into(exec_properties: dict[str, Any], folder: str) -> dict[str, Any]:
    destination = pusher_pb2.PushDestination(filesystem={"base_directory": folder})
    key = standard_component_specs.PUSH_DESTINATION_KEY
    return {**exec_properties, key: proto_utils.proto_to_json(destination)}
