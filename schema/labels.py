"""The values of a label column, and the classes that they stand for.

Several values may stand for one class (1 and 2 for `negative`), and others may be left out. A row that is left out is
neither an example nor rejected: the configuration asks for it.

Values are compared without the blanks around them, and whole numbers without their decimals: ` 1 ` and `1.0` are `1`.
"""

import dataclasses
import enum
import functools
import re
from typing import Final, Literal, Mapping, Optional, Union

Case = Literal["exact", "ignore"]


class LeftOut(enum.Enum):
    """The outcome of a row whose label is to be ignored."""

    LEFT_OUT = "left_out"


LEFT_OUT: Final = LeftOut.LEFT_OUT

_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+)\.0+")


@dataclasses.dataclass(frozen=True)
class Labels:
    """Which value means which class.

    Attributes:
      names: value in the file -> name of its class; the classes are in the order of the first values with their names.
      ignored: values whose rows are left out.
      case: whether `Positive` and `positive` are different values (`exact`) or the same (`ignore`).

    Raises:
      ValueError: a value has two meanings.
    """

    names: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    case: Case = "exact"

    def __post_init__(self) -> None:
        meanings: dict[str, tuple[str, Union[str, LeftOut]]] = {}
        configured: list[tuple[str, Union[str, LeftOut]]] = [
            *self.names.items(),
            *((v, LEFT_OUT) for v in self.ignored),
        ]
        for value, meaning in configured:
            other, other_meaning = meanings.setdefault(self.normalise(value), (value, meaning))
            if other_meaning != meaning:
                raise ValueError(
                    f"labels: {other!r} and {value!r} are the same value, but should be "
                    f"{_describe(other_meaning)} and {_describe(meaning)}"
                )

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in their order."""
        return tuple(dict.fromkeys(self.names.values()))

    def parse(self, value: str) -> Union[int, LeftOut, None]:
        """Returns the index of a value's class, `LEFT_OUT`, or None if the value is unknown."""
        return self._outcomes.get(self.normalise(value))

    def normalise(self, value: str) -> str:
        """Returns the form in which values are compared."""
        value = value.strip()
        if number := _WHOLE_NUMBER.fullmatch(value):
            return number[1]
        return value.casefold() if self.case == "ignore" else value

    @functools.cached_property
    def _outcomes(self) -> dict[str, Union[int, LeftOut]]:
        indices = {name: index for index, name in enumerate(self.classes)}
        outcomes: dict[str, Union[int, LeftOut]] = {self.normalise(v): indices[name] for v, name in self.names.items()}
        return outcomes | {self.normalise(value): LEFT_OUT for value in self.ignored}


def describe_reversed(names: Mapping[str, str]) -> Optional[str]:
    """Returns a warning if the order of the classes contradicts their values, such as `{1: positive, 0: negative}`.

    Models answer with the index of a class, so a reader who expects the value in the file is misled.

    Args:
      names: value in the file -> name of its class, in class order.
    """
    classes = list(dict.fromkeys(names.values()))
    try:
        lowest = [min(float(value) for value, name in names.items() if name == each) for each in classes]
    except ValueError:
        return None
    if lowest == sorted(lowest):
        return None
    meanings = ", ".join(f"label {index} means {name!r}" for index, name in enumerate(classes))
    return (
        f"data.labels: the classes are not in the order of their values in the file: in answers, {meanings}; list the "
        "lowest value first if that is not what you mean"
    )


def _describe(meaning: Union[str, LeftOut]) -> str:
    return "left out" if isinstance(meaning, LeftOut) else repr(meaning)
