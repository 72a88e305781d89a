"""The outcome of one component in one run."""

import dataclasses
from typing import TYPE_CHECKING, Mapping

if TYPE_CHECKING:
    from tfx.types import artifact


@dataclasses.dataclass
class NodeOutcome:
    """The outcome of one component.

    Attributes:
      id: id of the component.
      status: `not_run`, `complete`, `failed` or `interrupted`.
      seconds: wall time.
      cached: whether the outputs come from an earlier execution.
      outputs: name of the output -> its artifact.
    """

    id: str
    status: str = "not_run"
    seconds: float = 0.0
    cached: bool = False
    outputs: "Mapping[str, artifact.Artifact]" = dataclasses.field(default_factory=dict)
