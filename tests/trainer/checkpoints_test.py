"""Checkpoints: the newest complete one is used, incomplete ones are not, old ones are removed."""

import os
import time

import numpy as np
import pytest
import tensorflow as tf

from trainer import checkpoints
from trainer.checkpoints import Checkpoints


def _open(folder, value=0.0, writes=True):
    weights = [tf.Variable(tf.fill([1000], value)), tf.Variable(value)]
    return Checkpoints(str(folder), {"weights": weights}, weights, writes), weights


def _write(folder, *steps):
    store, weights = _open(folder)
    for step in steps:
        for weight in weights:
            weight.assign(tf.fill(weight.shape, float(step)))
        store.save_best(step)
        store.save(step, {"best_step": step, "step": step})
    store.wait()


def test_an_empty_folder_restores_nothing(tmp_path):
    assert _open(tmp_path / "new")[0].restore() is None


def test_the_newest_state_is_restored_with_its_progress(tmp_path):
    _write(tmp_path, 9, 10)
    store, weights = _open(tmp_path)
    assert store.restore() == {"best_step": 10, "step": 10}
    assert [weight.numpy().ravel()[0] for weight in weights] == [10, 10]


def _cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


def _flip(path):
    with open(path, "r+b") as stream:
        # Not in the middle, which may be an unused part of an index.
        stream.seek(os.path.getsize(path) // 4)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 0xFF]))


@pytest.mark.parametrize("damage", [_cut, _flip, os.remove], ids=["cut", "flipped bit", "removed"])
@pytest.mark.parametrize("kind", ["state", "best"])
@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path, damage, kind, suffix):
    _write(tmp_path, 9, 10)
    damage(str(tmp_path / f"{kind}-10{suffix}"))
    store, weights = _open(tmp_path)
    assert store.restore() == {"best_step": 9, "step": 9}
    assert [weight.numpy().ravel()[0] for weight in weights] == [9, 9]
    store.restore_best(9, weights)


def test_only_damaged_checkpoints_restore_nothing(tmp_path):
    _write(tmp_path, 9, 10)
    for step in (9, 10):
        _cut(str(tmp_path / f"state-{step}.data-00000-of-00001"))
    store, weights = _open(tmp_path)
    assert store.restore() is None
    assert not any(weight.numpy().any() for weight in weights)


def test_a_state_without_its_best_weights_is_not_restored_partly(tmp_path):
    _write(tmp_path, 10)
    os.remove(tmp_path / "best-10.index")
    store, weights = _open(tmp_path)
    assert store.restore() is None
    assert not any(weight.numpy().any() for weight in weights)


def test_only_two_states_and_their_best_weights_are_kept(tmp_path):
    _write(tmp_path, 1, 2, 3, 10)
    files = {file for file in os.listdir(tmp_path) if file.endswith(".index")}
    assert files == {"state-3.index", "state-10.index", "best-3.index", "best-10.index"}


def test_the_best_is_kept_for_any_number_of_later_states(tmp_path):
    store, weights = _open(tmp_path, 7.0)
    store.save_best(1)
    for step in range(1, 6):
        store.save(step, {"best_step": 1})
    weights[0].assign(tf.zeros([1000]))
    store.restore_best(1, weights)
    np.testing.assert_array_equal(weights[0], np.full(1000, 7.0))


def test_files_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / "state-5.data-00000-of-00001.tempstate123").write_bytes(b"part")
    _open(tmp_path)
    assert os.listdir(tmp_path) == []


def test_one_worker_writes_and_the_others_read(tmp_path):
    _write(tmp_path, 4)
    before = sorted(os.listdir(tmp_path))
    reader, weights = _open(tmp_path, writes=False)
    assert reader.restore() == {"best_step": 4, "step": 4}
    reader.save_best(5)
    reader.save(5, {"best_step": 5})
    reader.remove()
    assert sorted(os.listdir(tmp_path)) == before


def test_a_checkpoint_with_other_shapes_is_not_restored(tmp_path):
    _write(tmp_path, 4)
    weights = [tf.Variable(tf.zeros([3])), tf.Variable(0.0)]
    assert Checkpoints(str(tmp_path), {"weights": weights}, weights, True).restore() is None


def test_the_best_weights_are_not_written_twice(tmp_path):
    _write(tmp_path, 4)
    sizes = {kind: os.path.getsize(tmp_path / f"{kind}-4.data-00000-of-00001") for kind in ("state", "best")}
    assert sizes["best"] > 1000 * 4 > sizes["state"]


def test_a_state_has_the_values_at_its_step_although_training_goes_on(tmp_path):
    store, weights = _open(tmp_path)
    momentum = tf.Variable(tf.zeros([1000]))
    for step in range(1, 20):
        store.save_best(step)
        store.save(step, {"best_step": step})
        for weight in weights:
            tf.raw_ops.ResourceApplyMomentum(
                var=weight.handle,
                accum=momentum.handle if weight.shape.rank else tf.Variable(0.0).handle,
                lr=1.0,
                grad=-tf.ones_like(weight),
                momentum=0.0,
            )
    store.wait()
    store, weights = _open(tmp_path)
    assert store.restore() == {"best_step": 19}
    np.testing.assert_array_equal(weights[0], np.full(1000, 18.0))


def test_a_state_that_could_not_be_written_is_an_error_and_the_previous_one_is_used(tmp_path):
    _write(tmp_path, 9)
    store, _ = _open(tmp_path)
    # As on a full disk, no file can be made.
    (tmp_path / "state-10.index").mkdir()
    store.save(10, {"best_step": None})
    with pytest.raises(tf.errors.OpError):
        store.wait()
    (tmp_path / "state-10.index").rmdir()
    assert _open(tmp_path)[0].restore() == {"best_step": 9, "step": 9}


def test_states_that_could_not_be_read_do_not_displace_new_ones(tmp_path):
    _write(tmp_path, 9, 10)
    for step in (9, 10):
        _cut(str(tmp_path / f"state-{step}.data-00000-of-00001"))
    _write(tmp_path, 3)
    assert _open(tmp_path)[0].restore() == {"best_step": 3, "step": 3}


def test_a_key_depends_on_each_part_but_not_on_the_order_of_names():
    key = checkpoints.training_key({"a": 1, "b": 2}, ["x"])
    assert key == checkpoints.training_key({"b": 2, "a": 1}, ["x"])
    assert len({key, checkpoints.training_key({"a": 1, "b": 3}, ["x"]), checkpoints.training_key({"a": 1}, ["x"])}) == 3


def test_only_abandoned_trainings_are_removed(tmp_path):
    for name in ("mine", "old", "young"):
        _write(tmp_path / name, 1)
    long_ago = time.time() - checkpoints.ABANDONED_AFTER_S - 60
    for name in ("mine", "old"):
        for path in [*(tmp_path / name).iterdir(), tmp_path / name]:
            os.utime(path, (long_ago, long_ago))
    checkpoints.remove_abandoned(str(tmp_path), "mine")
    assert sorted(os.listdir(tmp_path)) == ["mine", "young"]
