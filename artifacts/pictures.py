"""Draws the pictures of the `model_run` artifact: the training history and the model."""

from typing import Mapping, Sequence

import matplotlib.figure

from artifacts.encoder import EncoderCard


def draw_history(history: Sequence[Mapping[str, float]], best_epoch: int, metric: str, file: str) -> None:
    """Plots loss and metric over the epochs for train and dev, and marks the kept epoch.

    Args:
      history: one mapping per epoch with `epoch`, `loss`, `dev_loss`, `<metric>`, `dev_<metric>`.
      best_epoch: the epoch whose weights were kept.
      metric: the metric that selects the best epoch.
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


def draw_model(parameters: Mapping[str, int], card: EncoderCard, file: str) -> None:
    """Draws the model from text to logits, with the output shape and the number of weights of each part.

    Args:
      parameters: `encoder` and `head` -> its number of weights.
      card: the encoder's card.
      file: the PNG to write.
    """
    vocabulary = "" if card.vocabulary is None else f"\nvocabulary of {card.vocabulary:,}"
    layers = "" if card.layers is None else f"{card.layers} layers, "
    boxes = (
        "text\nstring [batch]",
        f"tokens\nint32 [batch, longest]{vocabulary}",
        f"encoder\nfloat32 [batch, {card.hidden}]\n{layers}{parameters['encoder']:,} weights",
        f"dropout, dense\nlogits float32 [batch, units]\n{parameters['head']:,} weights",
    )
    figure = matplotlib.figure.Figure(figsize=(3.2, 1.3 * len(boxes)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, 0.5), ylim=(len(boxes) - 0.5, -0.5))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#e8eef7", "edgecolor": "#4a6fa5"}
    for y, text in enumerate(boxes):
        if y:
            axes.annotate("", (0, y), (0, y - 1), arrowprops={"arrowstyle": "->", "shrinkB": 26}, zorder=1)
        axes.text(0, y, text, ha="center", va="center", bbox=box, zorder=2)
    figure.savefig(file, dpi=100)
