"""The model gate: what TFMA computes, what it is held against, and its verdict in sentences.

The stock Evaluator loads this module by its import path and finds `custom_eval_shared_model` in it.
"""

import functools
import json
from typing import Any, Callable, Mapping, Optional

import tensorflow_model_analysis as tfma
import tensorflow_text  # noqa: F401  Registers the ops inside the model, on every worker that loads it.
from tensorflow_model_analysis.api import types

from pipeline.config import MetricBound
from pipeline.gates import Check
from schema import features
from schema.task import Task

CANDIDATE = "candidate"
BASELINE = "baseline"


def make_eval_config(task: Task, bounds: Mapping[str, MetricBound]) -> tfma.EvalConfig:
    """Builds the evaluation: metrics of the task on the served output, with each metric's bounds.

    Args:
      task: what is predicted.
      bounds: metric name -> bounds; a metric without one is only reported.
    """
    model_specs = [
        tfma.ModelSpec(
            name=name,
            model_type=tfma.TF_GENERIC,
            signature_name="serving_examples",
            label_key=features.LABEL,
            prediction_key=task.evaluated_output,
            is_baseline=name == BASELINE,
        )
        for name in (CANDIDATE, BASELINE)
    ]
    metrics = [tfma.MetricConfig(class_name="ExampleCount")]
    for name, class_name in task.evaluation_metrics.items():
        named = json.dumps({"name": name})
        metrics.append(tfma.MetricConfig(class_name=class_name, config=named, threshold=_threshold(bounds.get(name))))
    return tfma.EvalConfig(
        model_specs=model_specs,
        metrics_specs=[tfma.MetricsSpec(metrics=metrics, model_names=[CANDIDATE, BASELINE])],
        slicing_specs=[tfma.SlicingSpec()],
    )


def _threshold(bound: Optional[MetricBound]) -> Optional[tfma.MetricThreshold]:
    if bound is None:
        return None
    return tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": bound.min}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -bound.max_drop}
        ),
    )


def custom_eval_shared_model(
    eval_saved_model_path: str, model_name: str, eval_config: tfma.EvalConfig, **kwargs: Any
) -> types.EvalSharedModel:
    """TFMA's default model, loaded where TF Text's ops are registered."""
    shared = tfma.default_eval_shared_model(
        eval_saved_model_path=eval_saved_model_path, model_name=model_name, eval_config=eval_config, **kwargs
    )
    shared.model_loader.construct_fn = functools.partial(_construct, shared.model_loader.construct_fn)
    return shared


def _construct(construct_fn: Callable[[], Any]) -> Any:
    """Unpickling this function imports this module, and with it TF Text."""
    return construct_fn()


def read_metrics(folder: str, model_name: str) -> dict[str, float]:
    """Reads the overall metrics of a model, `example_count` among them, from an evaluation's folder."""
    result = tfma.load_eval_result(folder, model_name=model_name)
    overall = result.get_metrics_for_slice() or {}
    # TFMA reports the differences between both models as metrics `<name>_diff`.
    return {
        name: value["doubleValue"]
        for name, value in overall.items()
        if "doubleValue" in value and not name.endswith("_diff")
    }


def model_checks(folder: str, bounds: Mapping[str, MetricBound], has_baseline: bool) -> list[Check]:
    """Puts TFMA's verdict into checks: each metric against its least value, and against the model in serving.

    Args:
      folder: the evaluation artifact's folder.
      bounds: metric name -> bounds.
      has_baseline: whether the baseline is a model in serving; else it was the candidate itself.
    """
    candidate, baseline = (read_metrics(folder, name) for name in (CANDIDATE, BASELINE))
    failed = _failures(tfma.load_validation_result(folder))
    checks = []
    for name, bound in bounds.items():
        value, before = candidate[name], baseline[name]
        sentence = _absolute_sentence(name, value, bound.min, (name, False) not in failed)
        checks.append(Check("model", name, (name, False) not in failed, value, bound.min, sentence))
        if has_baseline:
            sentence = _change_sentence(name, value, before, bound.max_drop, (name, True) not in failed)
        else:
            sentence = "no other model is in serving to compare with"
        checks.append(
            Check("model", f"{name}_drop", (name, True) not in failed, before - value, bound.max_drop, sentence)
        )
    return checks


def _failures(validation: Any) -> set[tuple[str, bool]]:
    """(metric name, whether the change or the value failed), over all slices."""
    return {
        (failure.metric_key.name, failure.metric_key.is_diff)
        for validated in validation.metric_validations_per_slice
        for failure in validated.failures
    }


def _absolute_sentence(name: str, value: float, bound: float, passed: bool) -> str:
    if passed:
        return f"{name} {value:.4f} is at least {bound:.4f}"
    return f"{name} {value:.4f} is {bound - value:.4f} under the bound {bound:.4f}"


def _change_sentence(name: str, value: float, before: float, max_drop: float, passed: bool) -> str:
    if value >= before:
        return f"{name} {value:.4f} is no worse than the {before:.4f} of the model in serving"
    allowed = f"a drop of {max_drop:.4f} is allowed"
    verdict = "; " if passed else ", too far: only "
    return (
        f"{name} {value:.4f} is {before - value:.4f} under the {before:.4f} of the model in serving{verdict}{allowed}"
    )
