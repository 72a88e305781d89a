"""The configuration of a run: frozen, validated sections, read from YAML.

A YAML file under `configs/` holds the sections; `--set section.key=value` changes any of them. Relative paths in a file
are relative to that file's folder, those after `--set` to the current folder.

| module        | holds                                                                              |
|---------------|------------------------------------------------------------------------------------|
| `sections.py` | keys and defaults of `data`, `encoder`, `trainer`, `distill` and others; `Config`   |
| `gates.py`    | keys and defaults of `gates`; those of the metrics are in `schema/task/`           |
| `loading.py`  | a file and `--set` -> `Config`                                                     |
| `saving.py`   | `Config` -> a file                                                                 |
| `faults.py`   | error messages, with a suggestion for a misspelt key                               |

The keys of `beam` are in `core/beam_config.py`, those of `kubeflow` in `core/kubeflow_config.py`.
"""

from core.beam_config import BeamConfig
from core.config.faults import describe_faults
from core.config.gates import (
    AUTO_PAIRS,
    DataGateConfig,
    FailedPairs,
    GatesConfig,
    InvarianceGateConfig,
    MetricBound,
    Script,
    ServingGateConfig,
    SliceBound,
    TeacherBound,
    UpperBound,
)
from core.config.loading import load_config
from core.config.saving import dump_config
from core.config.sections import (
    ARCHIVE_SUFFIXES,
    CURATED_SCHEMA,
    DELIMITERS,
    Config,
    DataConfig,
    DistillConfig,
    EncoderConfig,
    NotifyConfig,
    Pooling,
    PretrainConfig,
    ServingConfig,
    TextsConfig,
    TrainerConfig,
    is_wide,
)

__all__ = [
    "ARCHIVE_SUFFIXES",
    "AUTO_PAIRS",
    "is_wide",
    "DELIMITERS",
    "CURATED_SCHEMA",
    "BeamConfig",
    "Config",
    "DataConfig",
    "DataGateConfig",
    "DistillConfig",
    "EncoderConfig",
    "FailedPairs",
    "GatesConfig",
    "InvarianceGateConfig",
    "MetricBound",
    "NotifyConfig",
    "Pooling",
    "PretrainConfig",
    "Script",
    "ServingConfig",
    "ServingGateConfig",
    "SliceBound",
    "TeacherBound",
    "TextsConfig",
    "TrainerConfig",
    "UpperBound",
    "describe_faults",
    "dump_config",
    "load_config",
]
