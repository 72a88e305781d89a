"""The configuration's section `beam`: where the components that use Apache Beam run."""

import re
from typing import Annotated, Literal, Mapping, Optional

import pydantic

from core.section import Count, Section

Runner = Literal["direct", "flink", "spark", "dataflow"]
AbsoluteFile = Annotated[str, pydantic.Field(pattern=r"^/\S+$")]
GcsFolder = Annotated[str, pydantic.Field(pattern=r"^gs://[^/\s]+")]

_PORTABLE = ("address", "parallelism", "environment", "command", "image", "pool", "job_server_jar")
# Runner -> its options; the others have no effect there.
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "direct": ("parallelism",),
    "flink": _PORTABLE,
    "spark": _PORTABLE,
    "dataflow": ("parallelism", "image", "temp_location", "project", "region", "machine_type"),
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "direct": (),
    "flink": ("address",),
    "spark": ("address",),
    # Without an image the workers lack TFX and this package.
    "dataflow": ("project", "region", "temp_location", "image"),
}
_ADDRESSES: Mapping[str, tuple[str, str]] = {
    "flink": (r"^(https?://)?[\w.-]+:\d+$", "HOST:PORT of Flink's REST API, such as localhost:8081"),
    "spark": (r"^(local\[(\d+|\*)\]|spark://\S+:\d+)$", "Spark's master, such as spark://host:7077 or local[2]"),
}
# Environment -> the option that it needs; a process has the program of this installation by default.
_NEEDED = {"docker": "image", "external": "pool"}
_OF_ENVIRONMENT = {"command": "process", "image": "docker", "pool": "external"}


class BeamConfig(Section):
    """The engine that runs TsvExampleGen, StatisticsGen and Evaluator."""

    runner: Runner = "direct"
    # Of Flink's REST API, or Spark's master.
    address: Optional[str] = None
    # Processes of the direct runner, tasks at a time of Flink and Spark, largest number of Dataflow's workers. The
    # direct runner's default is 1, Flink's the number of its slots.
    parallelism: Optional[Count] = None
    # What a worker of Flink or Spark runs Python in: a process, a container, a pool of workers beside it, or the
    # submitting process.
    environment: Literal["process", "docker", "external", "loopback"] = "process"
    # The program that a worker starts; the default is this installation's, which needs the same path on the workers.
    command: Optional[AbsoluteFile] = None
    image: Optional[str] = None
    # Its address as the workers see it, HOST:PORT.
    pool: Optional[Annotated[str, pydantic.Field(pattern=r"^[\w.-]+:\d+$")]] = None
    # By default Beam downloads it.
    job_server_jar: Optional[str] = None
    temp_location: Optional[GcsFolder] = None
    project: Optional[str] = None
    region: Optional[str] = None
    # It decides on the memory of Dataflow's workers.
    machine_type: Optional[str] = None
    # Beam's own flags.
    args: tuple[str, ...] = ()

    def with_command(self, command: str) -> "BeamConfig":
        """Returns the section with a program for workers' processes, where it has none and needs one."""
        if self.runner not in _ADDRESSES or self.environment != "process" or self.command is not None:
            return self
        return self.model_copy(update={"command": command})

    @pydantic.model_validator(mode="after")
    def _fits_runner(self) -> "BeamConfig":
        for name, field in type(self).model_fields.items():
            is_set = getattr(self, name) != field.default
            if name not in ("runner", "args", *_OPTIONS[self.runner]) and is_set:
                runners = " and ".join(runner for runner, options in _OPTIONS.items() if name in options)
                raise ValueError(f"{name} is for runner {runners}, not for {self.runner}; remove it or set runner")
            if name in _REQUIRED[self.runner] and not is_set:
                raise ValueError(f"{name}: missing; runner {self.runner} needs it")
        return self

    @pydantic.model_validator(mode="after")
    def _fits_environment(self) -> "BeamConfig":
        if self.runner not in _ADDRESSES:
            return self
        needed = _NEEDED.get(self.environment)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"{needed}: missing; environment {self.environment} needs it")
        for name, environment in _OF_ENVIRONMENT.items():
            if getattr(self, name) is not None and self.environment != environment:
                raise ValueError(f"{name} is for environment {environment}, not for {self.environment}")
        return self

    @pydantic.field_validator("address")
    @classmethod
    def _valid_address(cls, value: Optional[str], info: pydantic.ValidationInfo) -> Optional[str]:
        pattern, meaning = _ADDRESSES.get(info.data.get("runner", ""), ("", ""))
        if value is not None and not re.match(pattern, value):
            raise ValueError(f"should be {meaning}")
        return value
