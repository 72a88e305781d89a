"""On what a training runs: one device, several GPUs, several workers."""

import json
import os
from typing import Sequence

import tensorflow as tf


def choose_strategy(gpus: Sequence[tf.config.PhysicalDevice]) -> tf.distribute.Strategy:
    """Chooses the strategy from what is there; call it before TensorFlow does anything else.

    Args:
      gpus: those that may be used.

    Returns:
      MultiWorkerMirroredStrategy where `TF_CONFIG` names several workers, MirroredStrategy on several GPUs, else
      the default one.
    """
    if len(json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}).get("worker", ())) > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def workers(strategy: tf.distribute.Strategy) -> int:
    """Returns how many processes train together."""
    return len(strategy.cluster_resolver.cluster_spec().as_dict()["worker"]) if _is_cluster(strategy) else 1


def worker(strategy: tf.distribute.Strategy) -> int:
    """Returns this process's number; worker 0 is the one that writes."""
    return strategy.cluster_resolver.task_id if _is_cluster(strategy) else 0


def agreed(strategy: tf.distribute.Strategy, value: int) -> bool:
    """Waits for all workers and says whether they hold the same number.

    Args:
      strategy: what they train with.
      value: this worker's.
    """
    replicas = strategy.num_replicas_in_sync

    @tf.function(autograph=False)
    def sums() -> tf.Tensor:
        mine = strategy.run(lambda: tf.constant([value, value * value], tf.int64))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, mine, axis=None)

    # Equal if and only if the variance is 0.
    total, squares = sums().numpy().tolist()
    return replicas * squares == total * total


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Waits until every worker has come here."""
    agreed(strategy, 0)


def _is_cluster(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
