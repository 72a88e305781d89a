"""The component: takes examples, statistics and anomalies, and outputs a verdict or stops the run."""

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from artifacts.tfx_types import GateVerdict
from components import gate_config
from components.data_gate import driver, executor


class DataGateSpec(component_spec.ComponentSpec):
    """Inputs, parameters and outputs of DataGate."""

    PARAMETERS = {
        gate_config.PARAMETER: component_spec.ExecutionParameter(type=str),
        executor.SERVING_DIR: component_spec.ExecutionParameter(type=str),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema),
        executor.ANOMALIES: component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {executor.VERDICT: component_spec.ChannelParameter(type=GateVerdict)}


class DataGate(base_beam_component.BaseBeamComponent):
    """Stops the run before training, with all reasons, if the data fails a check.

    It reads a folder outside the pipeline. Locally, its driver adds the fingerprint of that folder to the cache key.
    Kubeflow runs no drivers, so the cache must be off for this component there.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        gate: str,
        serving_dir: str,
    ) -> None:
        """Initialises the component.

        Args:
          examples: channel of TsvExampleGen's examples.
          statistics: channel of their statistics.
          schema: channel of their schema.
          anomalies: channel of ExampleValidator's anomalies.
          gate: `gate_config.dump` of the task and `executor.Bounds`.
          serving_dir: the folder that the model server watches; its newest version contains the profile of its
            training data. The folder may not exist.
        """
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                gate=gate,
                serving_dir=serving_dir,
                verdict=types.Channel(type=GateVerdict),
            )
        )
