"""The artifacts that components exchange: one module per artifact, and `tfx_types`, which TFX lacks."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Imports `tfx_types` when one of them is asked for, because importing TFX takes seconds.

    TFX on Kubeflow looks up a custom type as `<top-level module>.<Class>`.
    """
    if name in ("GateVerdict", "RunSummary"):
        from artifacts import tfx_types

        return getattr(tfx_types, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
