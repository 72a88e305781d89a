"""Configures TFMA's evaluation of the candidate and the baseline; `results` reads its result.

The stock Evaluator loads this module by its import path and calls `custom_eval_shared_model` and `custom_extractors`.
The bounds are in `metric_checks`.
"""

import functools
import json
from typing import Any, Callable

import apache_beam as beam
import tensorflow_model_analysis as tfma
import tensorflow_text  # noqa: F401  Registers the ops inside the model, on every worker that loads it.
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.proto import config_pb2  # At its top level only once TFX has imported TFMA.

from components.model_gate import class_metrics, metrics, notable_rows, score_metrics
from components.model_gate.results import BASELINE, CANDIDATE, EXAMPLE_COUNT, NOTABLE_ROWS
from schema import features, slices
from schema.task import EvaluationMetric, Task

# Where the metrics' classes are that TFMA and Keras do not have.
_MODULES = (metrics, class_metrics, score_metrics, notable_rows)


def make_eval_config(task: Task) -> config_pb2.EvalConfig:
    """Builds the evaluation: metrics of the task on the served output, overall and by slice, without thresholds."""
    model_specs = [
        config_pb2.ModelSpec(
            name=name,
            model_type=tfma.TF_GENERIC,
            signature_name="serving_examples",
            label_key=features.LABEL,
            prediction_key=task.evaluated_output,
            is_baseline=name == BASELINE,
        )
        for name in (CANDIDATE, BASELINE)
    ]
    named = {
        EXAMPLE_COUNT: EvaluationMetric("ExampleCount"),
        **{name: metric for name, metric in task.evaluation_metrics.items() if metric.class_name},
        "paired_metrics": task.paired_metrics,
        NOTABLE_ROWS: task.notable_rows,
    }
    configs = [_metric_config(name, metric) for name, metric in named.items()]
    return config_pb2.EvalConfig(
        model_specs=model_specs,
        metrics_specs=[config_pb2.MetricsSpec(metrics=configs, model_names=[CANDIDATE, BASELINE])],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=[slices.LENGTH]),
            config_pb2.SlicingSpec(feature_keys=[slices.SCRIPT]),
        ],
    )


def _metric_config(name: str, metric: EvaluationMetric) -> config_pb2.MetricConfig:
    # Without a module, TFMA looks in Keras and in itself.
    module = next((m.__name__ for m in _MODULES if hasattr(m, metric.class_name)), "")
    arguments = json.dumps({"name": name, **metric.arguments})
    return config_pb2.MetricConfig(class_name=metric.class_name, module=module, config=arguments)


def custom_eval_shared_model(
    eval_saved_model_path: str, model_name: str, eval_config: config_pb2.EvalConfig, **kwargs: Any
) -> types.EvalSharedModel:
    """Returns TFMA's default model, changed to register TF Text's ops before a worker loads it."""
    shared = tfma.default_eval_shared_model(
        eval_saved_model_path=eval_saved_model_path, model_name=model_name, eval_config=eval_config, **kwargs
    )
    shared.model_loader.construct_fn = functools.partial(_construct, shared.model_loader.construct_fn)
    return shared


def _construct(construct_fn: Callable[[], Any]) -> Any:
    """Calls `construct_fn`; a worker that unpickles this function imports this module, and with it TF Text."""
    return construct_fn()


def custom_extractors(
    eval_shared_model: types.MaybeMultipleEvalSharedModels,
    eval_config: config_pb2.EvalConfig,
    tensor_adapter_config: Any,
) -> list[tfma.extractors.Extractor]:
    """Returns TFMA's default extractors and one that adds the slices of each text to its features.

    Slices are computed here, not in the examples, so that a change of slices doesn't need another ingestion.
    """
    *before, slice_keys = tfma.default_extractors(
        eval_shared_model=eval_shared_model, eval_config=eval_config, tensor_adapter_config=tensor_adapter_config
    )
    sliced = tfma.extractors.Extractor(stage_name="ExtractTextSlices", ptransform=beam.Map(_with_slices))
    return [*before, sliced, slice_keys]


def _with_slices(extracts: types.Extracts) -> types.Extracts:
    row = extracts[tfma.FEATURES_KEY]
    # Of a pair, the length of both texts together.
    text = "".join(row[name].item().decode("utf-8") for name in features.TEXTS if name in row)
    added = {slices.LENGTH: [slices.length_band(text)], slices.SCRIPT: slices.scripts(text)}
    return {**extracts, tfma.FEATURES_KEY: {**extracts[tfma.FEATURES_KEY], **added}}
