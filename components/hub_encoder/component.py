"""The component: takes a handle and outputs an encoder."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.hub_encoder import driver, executor


class HubEncoderSpec(component_spec.ComponentSpec):
    """Parameters and output of HubEncoder."""

    PARAMETERS = {
        executor.HANDLE: component_spec.ExecutionParameter(type=str),
        executor.PREPROCESS: component_spec.ExecutionParameter(type=str),
        executor.SHA256: component_spec.ExecutionParameter(type=str),
        executor.PREPROCESS_SHA256: component_spec.ExecutionParameter(type=str),
        executor.MODE: component_spec.ExecutionParameter(type=str),
        executor.MAX_LENGTH: component_spec.ExecutionParameter(type=int),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {executor.ENCODER: component_spec.ChannelParameter(type=standard_artifacts.Model)}


class HubEncoder(base_component.BaseComponent):
    """Copies a published text encoder into the pipeline once, so that workers never download.

    The output is described in `artifacts.encoder`. Locally, its driver adds the digest of a local folder to the cache
    key. Kubeflow runs no drivers, so a folder with new content needs a new name there.
    """

    SPEC_CLASS = HubEncoderSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        handle: str,
        preprocess: str = "",
        sha256: str = "",
        preprocess_sha256: str = "",
        mode: str = "feature_based",
        max_length: int = 0,
    ) -> None:
        """Initialises the component.

        Args:
          handle: a name in `components.hub_encoder.catalogue`, an `https://` or `gs://` address, or a local folder or
            archive.
          preprocess: the same for the preprocess model; empty if the handle has one.
          sha256: expected digest of the encoder, as in `encoder.json`; empty accepts any.
          preprocess_sha256: the same for the preprocess model.
          mode: `trainer.mode`: an encoder that can't be trained is an error in `fine_tune`.
          max_length: `trainer.max_length`, which the encoder has to take; 0 for any.
        """
        super().__init__(
            HubEncoderSpec(
                handle=handle,
                preprocess=preprocess,
                sha256=sha256,
                preprocess_sha256=preprocess_sha256,
                mode=mode,
                max_length=max_length,
                encoder=types.Channel(type=standard_artifacts.Model),
            )
        )
