"""The component: what is known of the data in, a verdict out, or a stopped run."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import GateVerdict
from components.data_gate import executor


class DataGateSpec(component_spec.ComponentSpec):
    """What DataGate takes and makes."""

    PARAMETERS = {executor.GATE: component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema),
        executor.ANOMALIES: component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {executor.VERDICT: component_spec.ChannelParameter(type=GateVerdict)}


class DataGate(base_component.BaseComponent):
    """Stops the run, with every reason, where the data misses a bound; what depends on it comes after."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        gate: str,
    ) -> None:
        """Makes the component.

        Args:
          examples: channel of TsvExampleGen's examples.
          statistics: channel of their statistics.
          schema: channel of the schema that they were held against.
          anomalies: channel of the anomalies found.
          gate: JSON of `{"data": <DataGateConfig>, "max_rejected_fraction": x, "label_names": [...]}`.
        """
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                gate=gate,
                verdict=types.Channel(type=GateVerdict),
            )
        )
