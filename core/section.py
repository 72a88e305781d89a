"""Base class and types of the sections of a configuration."""

from typing import Annotated

import pydantic

Fraction = Annotated[float, pydantic.Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, pydantic.Field(gt=0.0, lt=1.0)]
Count = Annotated[int, pydantic.Field(ge=1)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Margin = Annotated[float, pydantic.Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, pydantic.Field(gt=0.0)]


class Section(pydantic.BaseModel):
    """Base class of every section: immutable, and unknown keys are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
