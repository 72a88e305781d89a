"""The model card for people: `README.md` of a pushed version, in Markdown, from the summary behind the report.

It is at the top of the version's folder, where a person or a model registry looks first. TensorFlow Serving and
`tf.saved_model.load` read only the SavedModel's own files there.
"""

import dataclasses
import json
import os
from typing import Any, Mapping, Optional

import markupsafe
import tensorflow as tf

from artifacts import model_card, saved_model
from artifacts.evaluation import Evaluation
from components.data_gate.profile import Profile
from components.hub_encoder import catalogue
from components.run_report import page
from components.run_report.summary import EncoderSummary, Summary
from components.run_report.titles import title_slice
from core import escape, pages
from schema.features import TEXT_INPUTS
from schema.task import Task

_TEMPLATE = os.path.join(os.path.dirname(__file__), "model_page.md.j2")

# The texts of the examples, by input.
_EXAMPLE = dict(zip(TEXT_INPUTS, ("이것은 놀라운 영화입니다!", "정말 최고다"), strict=True))


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """A slice of the test rows, as text; empty where there is nothing to show."""

    name: str
    rows: int
    value: str
    interval: str
    bound: str


def render(summary: Summary, evaluated: Optional[Evaluation], profile: Optional[Profile], model_path: str) -> str:
    """Returns the page as Markdown.

    Args:
      summary: summary of the run until the push.
      evaluated: the evaluation behind its metrics.
      profile: the profile of its data.
      model_path: folder of the exported model, with its card.
    """
    card = model_card.read(model_path)
    values = {
        "summary": summary,
        "card": card,
        "task": card.task,
        "predicts": card.task.describe_labels(),
        "labels": {name: split.labels for name, split in profile.splits.items() if split.labels} if profile else {},
        "metrics": page.metric_rows(summary.metrics, evaluated),
        "slices": _slices(evaluated) if evaluated else [],
        "slice_metric": evaluated.metric_titles.get(evaluated.slice_metric, "") if evaluated else "",
        "warnings": [check.reason for check in summary.gates if check.verdict == "warning"],
        "licence": describe_licence(summary.encoder) if summary.encoder else "",
        "outputs": describe_outputs(card.task),
        "inputs": card.task.text_inputs,
        "arguments": ", ".join(f"tf.constant([{_as_json(_EXAMPLE[name])}])" for name in card.task.text_inputs),
        "request": _as_json({"instances": [{name: _EXAMPLE[name] for name in card.task.text_inputs}]}),
        "new_operations": saved_model.needs_new_text_operations(model_path),
        "own_packing": card.packing != model_card.PLAIN_PACKING,
    }
    return pages.render(_TEMPLATE, values, {"cell": _cell, "code": _code, "place": _place}) + "\n"


def describe_licence(encoder: EncoderSummary) -> str:
    """Returns a sentence on the licence of the encoder's weights."""
    if encoder.source == "pretrain":
        return "Its weights were trained on the training rows alone."
    entry = catalogue.find_entry(encoder.handle)
    if entry and entry.licence:
        return f"Licence of its weights: {entry.licence}."
    return "The licence of its weights is not known here; ask whoever published them."


def describe_outputs(task: Task) -> Mapping[str, str]:
    """Returns served output -> its type and shape, such as `float32[n]`."""
    outputs = task.served_outputs(tf.zeros([1, task.head_units]))
    return {
        name: f"{tensor.dtype.name}[{', '.join(['n', *map(str, tensor.shape[1:])])}]"
        for name, tensor in outputs.items()
    }


def _slices(evaluated: Evaluation) -> list[SliceRow]:
    return [
        SliceRow(
            title_slice(name),
            each.rows,
            "" if each.value is None else f"{each.value:.4f}",
            f"{each.interval.low:.3f} to {each.interval.high:.3f}" if each.interval else "",
            "" if each.min is None else f"{each.min:g}",
        )
        for name, each in evaluated.slices.items()
    ]


def _place(name: str) -> str:
    """Returns an address, or the last part of a path: the others are of no use to a reader elsewhere."""
    return name if "://" in name else os.path.basename(name.rstrip(os.sep))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> markupsafe.Markup:
    """Escapes what would end a cell of a table."""
    return markupsafe.escape(escape.line(text)).replace("|", markupsafe.Markup("&#124;"))


def _code(text: str) -> markupsafe.Markup:
    """Marks text of this module as code, in which Markdown has no entities."""
    return markupsafe.Markup(text)
