"""The devices of a training: one device, several GPUs, or several workers."""

import json
import os
from typing import Sequence

import tensorflow as tf


def choose_strategy(gpus: Sequence[tf.config.PhysicalDevice]) -> tf.distribute.Strategy:
    """Chooses the strategy for the available devices; has to be called before any other TensorFlow operation.

    Args:
      gpus: the GPUs that may be used.

    Returns:
      MultiWorkerMirroredStrategy if `TF_CONFIG` names several workers, MirroredStrategy for several GPUs, else the
      default one.
    """
    if len(json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}).get("worker", ())) > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of processes that train together."""
    return len(strategy.cluster_resolver.cluster_spec().as_dict()["worker"]) if _is_cluster(strategy) else 1


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Returns this process's index; only worker 0 writes."""
    return strategy.cluster_resolver.task_id if _is_cluster(strategy) else 0


def all_equal(strategy: tf.distribute.Strategy, value: int) -> bool:
    """Waits for all workers, and returns whether they passed the same number.

    Args:
      strategy: the training's strategy.
      value: this worker's number.
    """
    replicas = strategy.num_replicas_in_sync

    @tf.function(autograph=False)
    def sums() -> tf.Tensor:
        local = strategy.run(lambda: tf.constant([value, value * value], tf.int64))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, local, axis=None)

    # Equal if and only if the variance is 0.
    total, squares = sums().numpy().tolist()
    return replicas * squares == total * total


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Waits until every worker has called this."""
    all_equal(strategy, 0)


def _is_cluster(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
