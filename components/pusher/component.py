"""The component: TFX's Pusher with its own executor and driver, and a record of each push."""

from typing import Any, Mapping, Optional

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from artifacts.tfx_types import GateVerdict
from components.pusher import driver, executor, origin


class PusherSpec(standard_component_specs.PusherSpec):
    """Inputs, parameters and outputs of TFX's Pusher, and the artifacts for the record of a push."""

    INPUTS = {
        **standard_component_specs.PusherSpec.INPUTS,
        executor.BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        origin.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
        origin.DATA_VERDICT: component_spec.ChannelParameter(type=GateVerdict, optional=True),
        origin.ENCODER: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        origin.MODEL_RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }


class Pusher(base_component.BaseComponent):
    """Pushes a blessed model into the serving folder atomically, and removes old versions.

    A version contains `assets.extra/push.json` (`record.PushRecord`), the profile of its data, requests to warm up
    with, and its model card, `README.md`. A model that was rolled back (`rollback`) is not pushed again; the output's
    `checks.json` then has the reason.

    It writes to a folder outside the pipeline. Locally, its driver makes the cache depend on that folder. Kubeflow runs
    no drivers, so the cache must be off for this component there.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        model: types.BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        model_blessing: Optional[types.BaseChannel] = None,
        infra_blessing: Optional[types.BaseChannel] = None,
        baseline: Optional[types.BaseChannel] = None,
        examples: Optional[types.BaseChannel] = None,
        data_verdict: Optional[types.BaseChannel] = None,
        encoder: Optional[types.BaseChannel] = None,
        model_run: Optional[types.BaseChannel] = None,
        custom_config: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Initialises the component.

        Args:
          model: channel of the candidate, `standard_artifacts.Model`.
          push_destination: a folder on a file system.
          model_blessing: channel of the `standard_artifacts.ModelBlessing`, with `checks.json` and `metrics.json`.
          infra_blessing: channel of the `standard_artifacts.InfraBlessing`, with `checks.json`.
          baseline: channel of BaselineModel's output; the push fails if a different model is in serving by then.
          examples: channel of TsvExampleGen's examples.
          data_verdict: channel of DataGate's verdict.
          encoder: channel of the encoder's `standard_artifacts.Model`.
          model_run: channel of the Trainer's `standard_artifacts.ModelRun`.
          custom_config: `name`: name of the model in its card; `keep`: number of versions to keep, default all;
            `allow_rolled_back`: whether to push a model that was rolled back.
        """
        super().__init__(
            PusherSpec(
                model=model,
                push_destination=push_destination,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                baseline=baseline,
                examples=examples,
                data_verdict=data_verdict,
                encoder=encoder,
                model_run=model_run,
                custom_config=json_utils.dumps(dict(custom_config or {})),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
