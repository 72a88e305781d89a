"""Batches with little padding: their order, their shapes, and a dataset of them."""

import itertools
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from trainer.tokens import FILLER, MASK, TYPE_IDS, WORD_IDS, Tokens

# Number of batches whose rows are sorted together. With NSMC's lengths 100 batches of 32 leave 3 % of padding, 20 leave
# 10 %; more would reduce the randomness of the batches.
WINDOW_BATCHES = 100

# If every width costs a compilation: the minimum share of real tokens, and the maximum number of widths. NSMC needs 11
# widths.
MIN_REAL_SHARE = 0.87
MAX_WIDTHS = 16

InputsOf = Callable[[np.ndarray, Optional[int]], Any]


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Splits an epoch's rows into batches of similar length, in random order.

    The rows are shuffled, cut into windows of `WINDOW_BATCHES` batches, sorted by length inside a window and
    cut into batches, and the batches of the whole epoch are shuffled. With a window of two batches of two,
    lengths [9, 2, 3, 8] become batches with lengths (2, 3) and (8, 9), in either order.

    Args:
      lengths: int[n], number of tokens of each row.
      batch_size: rows per batch; one batch of the epoch may be smaller.
      seed: the run's seed.
      epoch: the epoch's number, from 0; each has a different order.

    Returns:
      Arrays of row numbers; every row is in exactly one.
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
    """Returns batches of all rows sorted by length, which have the least padding, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def endless_batches(
    lengths: np.ndarray, batch_size: int, seed: int, first_step: int, steps_per_epoch: int
) -> Iterator[np.ndarray]:
    """Yields the batches of epoch after epoch without end, starting at a step of the training."""
    first_epoch, skipped = divmod(first_step, steps_per_epoch)
    for epoch in itertools.count(first_epoch):
        yield from epoch_batches(lengths, batch_size, seed, epoch)[skipped:]
        skipped = 0


def padding_share(lengths: np.ndarray, batches: Iterable[np.ndarray], widths: Sequence[int] = ()) -> float:
    """Returns the share of padding among the computed tokens of batches, 0 to 1.

    Args:
      lengths: int[n], number of tokens of each row.
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
    """Returns the smallest of the ascending widths that fits a batch's longest row; None if there are no widths."""
    return widths[int(np.searchsorted(widths, longest))] if len(widths) else None


def choose_widths(lengths: np.ndarray, batches: Sequence[np.ndarray], min_real_share: float) -> list[int]:
    """Chooses the smallest set of widths to which batches can be padded at little cost.

    For each number of widths, dynamic programming over the histogram of the batches' longest rows finds the best ones.
    For batches whose longest rows have 4, 5 and 20 tokens the best two widths are [5, 20].

    Args:
      lengths: int[n], number of tokens of each row.
      batches: row numbers of each batch.
      min_real_share: minimum share of real tokens, 0 to 1.

    Returns:
      Ascending widths, at most `MAX_WIDTHS`; the last one fits the longest row of all.
    """
    longest, batch_of = np.unique([int(lengths[rows].max()) for rows in batches], return_inverse=True)
    counts = np.bincount(batch_of, weights=[len(rows) for rows in batches])
    real = sum(int(lengths[rows].sum()) for rows in batches)
    chosen = [int(longest[-1])]
    for widths, computed in itertools.islice(_best_widths(longest, counts), MAX_WIDTHS):
        chosen = widths
        if real >= min_real_share * computed:
            break
    return [*chosen[:-1], int(lengths.max())]


def _best_widths(longest: np.ndarray, counts: np.ndarray) -> Iterator[tuple[list[int], float]]:
    """Yields the best 1, 2, ... widths and the number of tokens that are computed with them.

    Args:
      longest: int[k], the distinct lengths of longest rows, ascending.
      counts: [k], number of rows in the batches whose longest row has that length.
    """
    rows_before = np.concatenate([[0.0], np.cumsum(counts)])
    # cost[j]: tokens computed for the lengths up to the j-th if that one is the last width.
    cost = longest * rows_before[1:]
    ways = [[int(width)] for width in longest]
    yield ways[-1], float(cost[-1])
    for _ in range(1, len(longest)):
        with_one_more = cost[:, None] + longest[None, :] * (rows_before[None, 1:] - rows_before[1:, None])
        # The width before the j-th has to be smaller.
        with_one_more[np.tril_indices(len(longest))] = np.inf
        before = with_one_more.argmin(axis=0)
        better = np.minimum(cost, with_one_more.min(axis=0))
        ways = [ways[j] if better[j] == cost[j] else [*ways[before[j]], int(width)] for j, width in enumerate(longest)]
        cost = better
        yield ways[-1], float(cost[-1])


def token_inputs(tokens: Tokens) -> tuple[InputsOf, Any]:
    """Returns a function from row numbers to a batch of tokens, and the batch's signature, for `dataset`."""
    return tokens.padded, {name: tf.TensorSpec([None, None], tf.int32, name) for name in (WORD_IDS, MASK, TYPE_IDS)}


def feature_inputs(features: np.ndarray) -> tuple[InputsOf, Any]:
    """Does the same as `token_inputs` for features float32[n, hidden] of the rows."""
    return lambda rows, width: features[rows], tf.TensorSpec([None, features.shape[1]], tf.float32)


def dataset(
    inputs: tuple[InputsOf, Any],
    targets: Any,
    lengths: np.ndarray,
    batches: Callable[[], Iterable[np.ndarray]],
    context: tf.distribute.InputContext,
    widths: Sequence[int] = (),
    replica_rows: Optional[int] = None,
) -> tf.data.Dataset:
    """Returns a worker's dataset: for each global batch in turn, the shares of the worker's replicas.

    Args:
      inputs: from `token_inputs` or `feature_inputs`.
      targets: an array [n, ...], such as labels, or a structure of them.
      lengths: int64[n], number of tokens of each row.
      batches: returns the row numbers of the global batches, without end.
      context: the worker's index and the number of replicas.
      widths: as in `width_of`; if empty, each share is padded to its longest row.
      replica_rows: number of rows to which filler rows extend every share; None for no filler rows.

    Returns:
      Endless elements (inputs, targets [rows, ...], weights float32[rows], rows of the global batch float32[]); the
      weight of a filler row is 0, that of the others 1.
    """
    inputs_of, spec = inputs
    replicas = context.num_replicas_in_sync
    local = replicas // context.num_input_pipelines
    local_replicas = slice(context.input_pipeline_id * local, (context.input_pipeline_id + 1) * local)

    def generate() -> Iterator[tuple[Any, Any, np.ndarray, np.float32]]:
        for rows in batches():
            width = width_of(int(lengths[rows].max()), widths)
            for share in np.array_split(rows, replicas)[local_replicas]:
                # A replica without rows gets a filler row, since all replicas run the step.
                filled = np.full(max(replica_rows or len(share), 1), FILLER)
                filled[: len(share)] = share
                weights = (filled != FILLER).astype(np.float32)
                filled_targets = tf.nest.map_structure(lambda array, rows=filled: array[rows], targets)
                yield inputs_of(filled, width), filled_targets, weights, np.float32(len(rows))

    targets_of = tf.nest.map_structure(lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), targets)
    rows_of = targets_of, tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)
    elements = tf.data.Dataset.from_generator(generate, output_signature=(spec, *rows_of))
    # With a known, infinite cardinality tf.distribute need not synchronise the end of the data in each step.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return elements.apply(endless).prefetch(tf.data.AUTOTUNE)
