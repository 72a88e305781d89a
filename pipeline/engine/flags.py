"""The section `beam` of a configuration as Beam's own flags, and the check of flags that a user wrote."""

import json
import os
import sys
from typing import Any, Iterable, Optional, Sequence

from core.beam_config import BeamConfig
from core.errors import UserError, did_you_mean

BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")

# A worker that no task has used for this long ends. Shorter than the pause before Flink's next attempt (8 s in
# deploy/flink/config.yaml): a later attempt that gets a worker of a failed one fails too.
CACHE_MS = 3000
# Translating a job with two TensorFlow models took 40 s on a busy machine; Beam's default is 60 s.
_JOB_SERVER_TIMEOUT_S = 300

_RUNNERS = {"flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner"}
# Flag -> the key that sets it.
_OWNED = {
    "runner": "runner",
    "flink_master": "address",
    "spark_master_url": "address",
    "parallelism": "parallelism",
    "max_num_workers": "parallelism",
    "environment_type": "environment",
    "environment_config": "environment",
    "flink_job_server_jar": "job_server_jar",
    "spark_job_server_jar": "job_server_jar",
    "temp_location": "temp_location",
    "project": "project",
    "region": "region",
    "machine_type": "machine_type",
    "sdk_container_image": "image",
}


def make_flags(beam: BeamConfig) -> list[str]:
    """Returns Beam's flags for a section; its `args` come last."""
    flags: dict[str, Any] = {}
    if beam.runner == "direct" and beam.parallelism is not None:
        flags = {"direct_num_workers": beam.parallelism, "direct_running_mode": "multi_processing"}
    elif beam.runner in ("flink", "spark"):
        flags = _portable_flags(beam)
    elif beam.runner == "dataflow":
        flags = {
            "project": beam.project,
            "region": beam.region,
            "temp_location": beam.temp_location,
            "max_num_workers": beam.parallelism,
            "machine_type": beam.machine_type,
            "sdk_container_image": beam.image,
        }
    named = {"runner": _RUNNERS.get(beam.runner), **flags}
    return [*(f"--{name}={value}" for name, value in named.items() if value is not None), *beam.args]


def _portable_flags(beam: BeamConfig) -> dict[str, Any]:
    config = {
        "process": json.dumps({"command": beam.command or BOOT, "env": _worker_environment(beam)}),
        "docker": beam.image,
        "external": beam.pool,
        "loopback": None,
    }
    address = beam.address
    if beam.runner == "flink" and address is not None and "://" not in address:
        address = f"http://{address}"
    return {
        "flink_master" if beam.runner == "flink" else "spark_master_url": address,
        f"{beam.runner}_job_server_jar": beam.job_server_jar,
        "parallelism": beam.parallelism,
        "environment_type": beam.environment.upper(),
        "environment_config": config[beam.environment],
        "environment_cache_millis": CACHE_MS,
        "job_server_timeout": _JOB_SERVER_TIMEOUT_S,
    }


def _worker_environment(beam: BeamConfig) -> dict[str, str]:
    # The program starts `python3` of PATH: this one, or in another place that of its checkout's or image's .venv.
    python = os.path.dirname(sys.executable)
    if beam.command is not None:
        python = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(beam.command))), ".venv", "bin")
    return {"PATH": f"{python}:/usr/local/bin:/usr/bin:/bin", "TF_USE_LEGACY_KERAS": "1"}


def parse(flags: Iterable[str]) -> dict[str, str]:
    """`["--runner=FlinkRunner"]` -> `{"runner": "FlinkRunner"}`; the last one of a name wins."""
    pairs = (flag[2:].partition("=") for flag in flags if flag.startswith("--"))
    return {name: value for name, _, value in pairs}


def check_args(beam: BeamConfig, of_job_server: Optional[Sequence[str]] = None) -> None:
    """Refuses flags in `beam.args` that Beam does not know, and those that a key of the section sets.

    Args:
      beam: the section.
      of_job_server: names of the flags that the engine's job server has; None if it is not running yet. Then unknown
        flags of Flink and Spark are refused only if they are similar to a known one.

    Raises:
      UserError: names the first such flag.
    """
    known = _beam_flags()
    for name in parse(beam.args):
        if beam.runner != "direct" and name in _OWNED:
            raise UserError(f"beam.args: --{name}: is set by beam.{_OWNED[name]}; remove it")
        if name in known or name in (of_job_server or ()):
            continue
        hint = did_you_mean(name, sorted({*known, *(of_job_server or ())}))
        is_similar = hint.startswith("; did you mean")
        if is_similar or of_job_server is not None or beam.runner not in ("flink", "spark"):
            raise UserError(f"beam.args: --{name}: Beam has no such flag{hint if is_similar else ''}")
    if beam.args and not beam.args[0].startswith("--"):
        raise UserError(f"beam.args: {beam.args[0]}: should be a flag such as --direct_num_workers=4")


def _beam_flags() -> set[str]:
    """Returns the names of the flags that Beam's Python SDK has."""
    from apache_beam.options import pipeline_options  # Slow.

    parser = pipeline_options._BeamArgumentParser()
    for section in pipeline_options.PipelineOptions.__subclasses__():
        section._add_argparse_args(parser)
    return {name.lstrip("-") for name in parser._option_string_actions}
