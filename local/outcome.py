"""What becomes of the components of a run, and who is told."""

import dataclasses
from typing import TYPE_CHECKING, Mapping

if TYPE_CHECKING:
    from tfx.types import artifact


@dataclasses.dataclass
class NodeOutcome:
    """What became of one component in one run.

    Attributes:
      id: the component's id.
      status: `not_run`, `complete` or `failed`.
      seconds: wall time.
      cached: whether an earlier execution's outputs were taken.
      outputs: output name -> its artifact.
    """

    id: str
    status: str = "not_run"
    seconds: float = 0.0
    cached: bool = False
    outputs: "Mapping[str, artifact.Artifact]" = dataclasses.field(default_factory=dict)


class Observer:
    """Is told of each component as it starts and ends; a terminal overrides what it shows."""

    def started(self, node_id: str) -> None:
        """Called before a component is launched."""

    def ended(self, outcome: NodeOutcome) -> None:
        """Called when a component is complete or has failed."""
