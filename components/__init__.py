"""The pipeline's own TFX components: `component.py` is the spec, `executor.py` the work."""
