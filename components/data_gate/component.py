"""The component: what is known of the data and what is in serving in, a verdict out, or a stopped run."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from artifacts import GateVerdict
from components.data_gate import driver, executor


class DataGateSpec(component_spec.ComponentSpec):
    """What DataGate takes and makes."""

    PARAMETERS = {
        executor.GATE: component_spec.ExecutionParameter(type=str),
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


class DataGate(base_component.BaseComponent):
    """Stops the run, with every reason, where the data misses a bound; what depends on it comes after.

    It reads a folder outside the pipeline. On this machine the driver makes the cache follow that folder;
    Kubeflow runs no driver, so the cache must be off for this component there.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
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
        """Makes the component.

        Args:
          examples: channel of TsvExampleGen's examples.
          statistics: channel of their statistics.
          schema: channel of the schema that they were held against.
          anomalies: channel of the anomalies found.
          gate: JSON of `{"data": <DataGateConfig>, "max_rejected_fraction": x, "label_names": [...]}`.
          serving_dir: the folder that the model server watches, whose newest version carries the profile of the data
            behind it; it need not exist.
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
