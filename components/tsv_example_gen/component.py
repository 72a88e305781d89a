"""The component: takes the `data` section of the configuration and outputs examples in three splits."""

from typing import Any, Optional

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.tsv_example_gen import driver, executor


class TsvExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and outputs of TsvExampleGen."""

    PARAMETERS = {
        executor.DATA: component_spec.ExecutionParameter(type=str),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, Any] = {}
    OUTPUTS = {executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class TsvExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests TSV files; `artifacts.examples` describes its artifact.

    It reads files outside the pipeline. Locally, its driver adds their fingerprint to the cache key. Kubeflow runs no
    drivers, so the cache must be off there, or `fingerprint` set.
    """

    SPEC_CLASS = TsvExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, data: str, fingerprint: Optional[str] = None) -> None:
        """Initialises the component.

        Args:
          data: JSON of `core.config.DataConfig` (`config.data.model_dump_json()`).
          fingerprint: any string that changes with the input's content; None if a driver computes it.
        """
        super().__init__(
            TsvExampleGenSpec(
                data=data, fingerprint=fingerprint, examples=types.Channel(type=standard_artifacts.Examples)
            )
        )
