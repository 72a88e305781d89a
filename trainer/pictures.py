"""Pictures of a training: its history, and the model."""

from typing import Mapping, Sequence

import matplotlib.figure
import tf_keras


def draw_history(history: Sequence[Mapping[str, float]], best_epoch: int, metric: str, file: str) -> None:
    """Draws loss and metric over the epochs, train and dev, the kept epoch marked.

    Args:
      history: one mapping an epoch with `epoch`, `loss`, `dev_loss`, `<metric>`, `dev_<metric>`.
      best_epoch: the epoch whose weights were kept.
      metric: the metric that picks the checkpoint.
      file: the PNG to write.
    """
    figure = matplotlib.figure.Figure(figsize=(9, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        axes.plot(epochs, [row[name] for row in history], "o-", label="train")
        axes.plot(epochs, [row[f"dev_{name}"] for row in history], "o-", label="dev")
        axes.axvline(best_epoch, color="grey", linestyle=":", label="kept")
        axes.set(xlabel="epoch", title=name, xticks=epochs)
        axes.legend()
    figure.savefig(file, dpi=100)


def draw_model(model: tf_keras.Model, parameters: Mapping[str, int], file: str) -> None:
    """Draws the model's layers from input to output, with output shapes and parameters.

    Args:
      model: a functional model.
      parameters: layer name -> its weights' element count.
      file: the PNG to write.
    """
    rows = _layer_rows(model)
    figure = matplotlib.figure.Figure(figsize=(3.2 * max(map(len, rows)), 1.1 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, max(map(len, rows)) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.axis("off")
    centres = {
        layer: (i + (max(map(len, rows)) - len(row)) / 2, y)
        for y, row in enumerate(rows)
        for i, layer in enumerate(row)
    }
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#e8eef7", "edgecolor": "#4a6fa5"}
    for layer, centre in centres.items():
        for source in _sources(layer):
            axes.annotate("", centre, centres[source], arrowprops={"arrowstyle": "->", "shrinkB": 22}, zorder=1)
        count = parameters.get(layer.name, 0)
        text = f"{layer.name}\n{layer.output_shape if not isinstance(layer.output_shape, dict) else ''}"
        axes.text(
            *centre,
            text.strip() + (f"\n{count:,} weights" if count else ""),
            ha="center",
            va="center",
            bbox=box,
            zorder=2,
        )
    figure.savefig(file, dpi=100)


def _sources(layer: tf_keras.layers.Layer) -> list[tf_keras.layers.Layer]:
    inbound = layer.inbound_nodes[0].inbound_layers if layer.inbound_nodes else []
    return inbound if isinstance(inbound, list) else [inbound]


def _layer_rows(model: tf_keras.Model) -> list[list[tf_keras.layers.Layer]]:
    """Layers by depth: a layer stands one row below the lowest of its sources."""
    depth: dict[tf_keras.layers.Layer, int] = {}
    for layer in model.layers:
        depth[layer] = 1 + max((depth[source] for source in _sources(layer)), default=-1)
    return [[layer for layer in model.layers if depth[layer] == row] for row in range(max(depth.values()) + 1)]
