"""Batches of rows with almost no padding: their order, their shapes, and the dataset made of them."""

import itertools
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from trainer.tokens import FILLER, MASK, TYPE_IDS, WORD_IDS, Tokens

# Batches whose rows are sorted together. With NSMC's lengths 100 batches of 32 leave 3 % of padding, 20 leave 10 %;
# more would make every batch the same length and order.
WINDOW_BATCHES = 100

# Where every width costs a compilation: the least share of real tokens, and the most widths to get there. NSMC
# reaches that with 11.
LEAST_REAL_SHARE = 0.87
MOST_WIDTHS = 16

InputsOf = Callable[[np.ndarray, Optional[int]], Any]


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Splits an epoch's rows into batches of like length, in random order.

    The rows are shuffled, cut into windows of `WINDOW_BATCHES` batches, sorted by length inside a window and
    cut into batches, and the batches of the whole epoch are shuffled. With a window of two batches of two,
    lengths [9, 2, 3, 8] become batches with lengths (2, 3) and (8, 9), in either order.

    Args:
      lengths: int[n], tokens of each row.
      batch_size: rows of a batch; one batch of an epoch may be smaller.
      seed: a run's seed.
      epoch: the epoch's number, 0 for the first; each has another order.

    Returns:
      Arrays of row numbers; every row occurs in exactly one.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    window = batch_size * WINDOW_BATCHES
    batches = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Returns every row once, shortest first: the batches with the least padding, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def endless_batches(
    lengths: np.ndarray, batch_size: int, seed: int, first_step: int, steps_per_epoch: int
) -> Iterator[np.ndarray]:
    """Yields the batches of one epoch after the other, from a step of the whole training on, without end."""
    first_epoch, skipped = divmod(first_step, steps_per_epoch)
    for epoch in itertools.count(first_epoch):
        yield from epoch_batches(lengths, batch_size, seed, epoch)[skipped:]
        skipped = 0


def padding_share(lengths: np.ndarray, batches: Iterable[np.ndarray], widths: Sequence[int] = ()) -> float:
    """Returns the share of padding among the tokens that batches compute, 0 to 1.

    Args:
      lengths: int[n], tokens of each row.
      batches: row numbers of each batch.
      widths: as in `width_of`.
    """
    computed = real = 0
    for rows in batches:
        longest = int(lengths[rows].max())
        computed += (width_of(longest, widths) or longest) * len(rows)
        real += int(lengths[rows].sum())
    return 1.0 - real / computed if computed else 0.0


def width_of(longest: int, widths: Sequence[int]) -> Optional[int]:
    """Returns the smallest of the ascending widths that holds a batch's longest row; None where there are no widths."""
    return widths[int(np.searchsorted(widths, longest))] if len(widths) else None


def choose_widths(lengths: np.ndarray, batches: Sequence[np.ndarray], least_real_share: float) -> list[int]:
    """Chooses the fewest widths to which batches can be padded with little loss.

    For each number of widths the best ones are found by dynamic programming over the histogram of the batches'
    longest rows. For batches whose longest rows have 4, 5 and 20 tokens two widths are best at [5, 20].

    Args:
      lengths: int[n], tokens of each row.
      batches: row numbers of each batch.
      least_real_share: share of real tokens at which no more widths are added, 0 to 1.

    Returns:
      Ascending widths, `MOST_WIDTHS` at most; the last holds the longest row of all.
    """
    longest, batch_of = np.unique([int(lengths[rows].max()) for rows in batches], return_inverse=True)
    counts = np.bincount(batch_of, weights=[len(rows) for rows in batches])
    real = sum(int(lengths[rows].sum()) for rows in batches)
    chosen = [int(longest[-1])]
    for widths, computed in itertools.islice(_best_widths(longest, counts), MOST_WIDTHS):
        chosen = widths
        if real >= least_real_share * computed:
            break
    return [*chosen[:-1], int(lengths.max())]


def _best_widths(longest: np.ndarray, counts: np.ndarray) -> Iterator[tuple[list[int], float]]:
    """Yields, for 1, 2, ... widths, the best ones and the tokens that they compute.

    Args:
      longest: int[k], ascending.
      counts: [k], rows of the batches whose longest row has that length.
    """
    rows_before = np.concatenate([[0.0], np.cumsum(counts)])
    # cost[j]: tokens computed for the lengths up to the j-th, the j-th being the last width.
    cost = longest * rows_before[1:]
    ways = [[int(width)] for width in longest]
    yield ways[-1], float(cost[-1])
    for _ in range(1, len(longest)):
        with_one_more = cost[:, None] + longest[None, :] * (rows_before[None, 1:] - rows_before[1:, None])
        # The width before the j-th is a smaller one.
        with_one_more[np.tril_indices(len(longest))] = np.inf
        before = with_one_more.argmin(axis=0)
        better = np.minimum(cost, with_one_more.min(axis=0))
        ways = [ways[j] if better[j] == cost[j] else [*ways[before[j]], int(width)] for j, width in enumerate(longest)]
        cost = better
        yield ways[-1], float(cost[-1])


def token_inputs(tokens: Tokens) -> tuple[InputsOf, Any]:
    """Returns, for `dataset`, what makes a batch of tokens of rows, and its signature."""
    return tokens.padded, {name: tf.TensorSpec([None, None], tf.int32, name) for name in (WORD_IDS, MASK, TYPE_IDS)}


def feature_inputs(features: np.ndarray) -> tuple[InputsOf, Any]:
    """The same for features float32[n, hidden] of the rows."""
    return lambda rows, width: features[rows], tf.TensorSpec([None, features.shape[1]], tf.float32)


def dataset(
    inputs: tuple[InputsOf, Any],
    labels: np.ndarray,
    lengths: np.ndarray,
    batches: Callable[[], Iterable[np.ndarray]],
    context: tf.distribute.InputContext,
    widths: Sequence[int] = (),
    replica_rows: Optional[int] = None,
) -> tf.data.Dataset:
    """Makes one worker's dataset: of each global batch, one after the other, the shares of the worker's replicas.

    Args:
      inputs: from `token_inputs` or `feature_inputs`.
      labels: int64[n], class of each row.
      lengths: int64[n], tokens of each row.
      batches: gives the global batches' row numbers; they never end.
      context: which worker this is, and how many replicas there are.
      widths: as in `width_of`; none pads each share to its longest row.
      replica_rows: rows of every share, filled up; None leaves them as they are.

    Returns:
      Endless elements (inputs, labels int64[rows], weights float32[rows], rows of the global batch float32[]); a
      row's weight is 1, or 0 if it only fills up.
    """
    inputs_of, spec = inputs
    replicas = context.num_replicas_in_sync
    local = replicas // context.num_input_pipelines
    mine = slice(context.input_pipeline_id * local, (context.input_pipeline_id + 1) * local)

    def generate() -> Iterator[tuple[Any, np.ndarray, np.ndarray, np.float32]]:
        for rows in batches():
            width = width_of(int(lengths[rows].max()), widths)
            for share in np.array_split(rows, replicas)[mine]:
                # A replica without a row still takes part in the step.
                filled = np.full(max(replica_rows or len(share), 1), FILLER)
                filled[: len(share)] = share
                weights = (filled != FILLER).astype(np.float32)
                yield inputs_of(filled, width), labels[filled], weights, np.float32(len(rows))

    rows_of = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)
    made = tf.data.Dataset.from_generator(generate, output_signature=(spec, *rows_of))
    # Told that there is no end, tf.distribute asks no other worker in each step whether it still has data.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return made.apply(endless).prefetch(tf.data.AUTOTUNE)
