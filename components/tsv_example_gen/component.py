"""The component: the data section of the configuration in, examples in three splits out."""

from typing import Optional

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.tsv_example_gen import driver, executor


class TsvExampleGenSpec(component_spec.ComponentSpec):
    """What TsvExampleGen takes and makes."""

    PARAMETERS = {
        executor.DATA: component_spec.ExecutionParameter(type=str),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {}
    OUTPUTS = {executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class TsvExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests TSV files; what its artifact holds is in `artifacts.examples`.

    It reads files outside the pipeline. On this machine the driver puts their fingerprint into the cache
    key; Kubeflow runs no driver, so there the cache must be off, or `fingerprint` given.
    """

    SPEC_CLASS = TsvExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, data: str, fingerprint: Optional[str] = None) -> None:
        """Makes the component.

        Args:
          data: JSON of `core.config.DataConfig` (`config.data.model_dump_json()`).
          fingerprint: anything that changes with the input's content, where no driver finds it out.
        """
        super().__init__(
            TsvExampleGenSpec(
                data=data, fingerprint=fingerprint, examples=types.Channel(type=standard_artifacts.Examples)
            )
        )
