"""The pipeline's own TFX components: `component.py` has the spec, `executor.py` the implementation."""
