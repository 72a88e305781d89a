"""The component: TFX's Pusher with an executor and a driver of our own."""

from tfx.components.pusher import component
from tfx.dsl.components.base import executor_spec

from components.pusher import driver, executor


class Pusher(component.Pusher):
    """Pushes a blessed model into the serving folder atomically, and keeps the last versions only.

    Inputs, outputs and arguments are those of TFX's Pusher. `custom_config={"keep": 5}` sets how many
    versions stay; without it all do. The destination should be a folder on a file system.

    It writes a folder outside the pipeline. On this machine the driver makes the cache follow that folder;
    Kubeflow runs no driver, so the cache must be off for this component there.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver
