"""The exported model as others use it: called like a function, or by a server that knows fewer operations."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the exported model's ops.

from artifacts import encoder, model_card, saved_model
from local import served_model
from schema.task import make_task
from tests import encoders
from trainer import export, model
from trainer.packing import Packer

MAX_LENGTH = 16
SENTENCES = ["정말 재미있는 영화", "시간이 아까웠다!", "", "great movie " * 20]
TASKS = {
    "two classes": make_task(("document",), {"0": "부정", "1": "긍정"}),
    "three classes": make_task(("document",), {"0": "none", "1": "offensive", "2": "hate"}),
    "pairs": make_task(("question", "sentence"), {"0": "no", "1": "yes"}),
}
OTHER_TASKS = (
    make_task(("document",), {"1": "1", "2": "2", "3": "3", "4": "4"}, "ordinal"),
    make_task(("document",), {}, "regression", (0.0, 5.0)),
)

# The operations of an exported model of single texts. TensorFlow 2.14 and TF Text 2.12.1, which TensorFlow Serving 2.14
# has, register all of them; before adding one, find out whether they do.
KNOWN_OPERATIONS = set(
    """
    AddV2 All ArgMax Assert AssignVariableOp BatchMatMulV2 BiasAdd Cast ConcatV2 Const Cumsum DisableCopyOnRead Equal
    Exp ExpandDims FloorMod GatherV2 Greater HashTableV2 Identity If InitializeTableFromTextFileV2 LessEqual
    LookupTableFindV2 MatMul Max Maximum Mean MergeV2Checkpoints Minimum Mul Neg NoOp OneHot Pack Pad ParseExampleV2
    PartitionedCall Placeholder Pow RaggedTensorToTensor Range ReadVariableOp RegexSplitWithOffsets Reshape
    ResourceGather RestoreV2 Rsqrt SaveV2 Select SelectV2 Shape ShardedFilename Sigmoid Softmax Softplus Square
    Squeeze StatefulPartitionedCall StaticRegexFullMatch StaticRegexReplace StridedSlice StringJoin Sub Sum Tanh
    Transpose UnicodeTranscode Unpack VarHandleOp VarIsInitializedOp Where WordpieceTokenizeWithOffsets ZerosLike
    """.split()
)


@pytest.fixture(scope="module", name="exported")
def _exported(tmp_path_factory):
    """Returns task name -> folder of its model, with random weights."""
    folder = tmp_path_factory.mktemp("exported")
    encoders.save(str(folder / "encoder"))
    preprocess = tf.saved_model.load(encoder.preprocess_dir(str(folder / "encoder")))
    network = model.load_encoder(encoder.encoder_dir(str(folder / "encoder")))
    for name, task in TASKS.items():
        head = model.Head(task, encoders.CONFIG.hidden, 0.0, seed=1)
        head.kernel.assign(1000 * head.kernel)
        packer = Packer(preprocess, len(task.text_inputs), MAX_LENGTH)
        served = export.ServedClassifier(packer, model.Classifier(network, head), task)
        export.export(str(folder / name), served)
        model_card.write(str(folder / name), model_card.ModelCard(task, {}, MAX_LENGTH))
    return {name: str(folder / name) for name in TASKS}


def inputs_of(name):
    texts = tf.constant(SENTENCES)
    return dict(zip(TASKS[name].text_inputs, (texts, texts[::-1]), strict=False))


@pytest.mark.parametrize("name, width", [("two classes", 1), ("three classes", 3), ("pairs", 1)])
def test_the_loaded_model_is_called_with_texts_and_returns_logits(exported, name, width):
    loaded, inputs = tf.saved_model.load(exported[name]), inputs_of(name)
    logits = loaded(*inputs.values())
    assert logits.dtype == tf.float32 and logits.shape == [len(SENTENCES), width]
    served = loaded.signatures["serving_default"](**inputs)
    for output, tensor in TASKS[name].served_outputs(logits).items():
        if tensor.dtype.is_floating:
            np.testing.assert_allclose(served[output], tensor, atol=1e-6)
        else:
            np.testing.assert_array_equal(served[output], tensor)
    assert np.ptp(logits[:, 0]) > 0.01


def test_one_sentence_is_a_batch_too(exported):
    loaded = tf.saved_model.load(exported["two classes"])
    np.testing.assert_allclose(loaded(tf.constant(SENTENCES[:1])), loaded(tf.constant(SENTENCES))[:1], rtol=1e-5)
    assert loaded(tf.constant([], tf.string)).shape == [0, 1]


@pytest.mark.parametrize("name", ["two classes", "three classes"])
def test_a_model_of_single_texts_has_only_operations_that_old_servers_know(exported, name):
    unknown = saved_model.read_operations(exported[name]) - KNOWN_OPERATIONS
    assert not unknown
    assert not saved_model.needs_new_text_operations(exported[name])


@pytest.mark.parametrize("task", OTHER_TASKS, ids=["stars", "score"])
def test_the_outputs_of_other_tasks_need_no_other_operations(task):
    outputs = tf.function(task.served_outputs, input_signature=[tf.TensorSpec([None, task.head_units])])
    operations = {operation.type for operation in outputs.get_concrete_function().graph.get_operations()}
    assert not operations - KNOWN_OPERATIONS


def test_a_model_of_pairs_needs_the_trimmer(exported):
    assert saved_model.needs_new_text_operations(exported["pairs"])
    assert saved_model.read_operations(exported["pairs"]) - KNOWN_OPERATIONS >= {"TFText>RoundRobinTrim"}


def test_only_the_tokeniser_of_the_preprocess_model_is_exported(exported):
    loaded = tf.saved_model.load(exported["two classes"])
    children = tf.train.TrackableView(loaded).descendants()
    assert len([each for each in children if isinstance(each, tf.saved_model.Asset)]) == 1
    assert not hasattr(loaded, "_preprocess")
    names = {variable.name for variable in children if isinstance(variable, tf.Variable)}
    assert {"logits/kernel:0", "logits/bias:0"} <= names and "save_counter:0" not in names


# Loads a model where nothing but TensorFlow and TF Text can be imported, and prints its answers.
CALLER = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

BLOCKED = set(json.loads(sys.argv[2]))
sys.meta_path.insert(0, Blocker())
import tensorflow as tf
import tensorflow_text

loaded = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.loads(sys.argv[3]))
served = loaded.signatures["serving_default"](text=texts)
answers = {
    "logits": loaded(texts).numpy().tolist(),
    "names": [name.decode() for name in served["label_name"].numpy()],
    "probabilities": served["probability"].numpy().tolist(),
}
print(json.dumps({"answers": answers, "imported": sorted(BLOCKED & {name.partition(".")[0] for name in sys.modules})}))
"""
BLOCKED = (
    "artifacts cluster components core launchers local pipeline schema tests trainer official tf_keras tfx tfx_bsl "
    "tensorflow_hub tensorflow_model_analysis tensorflow_transform apache_beam pydantic"
).split()


def test_tensorflow_and_tf_text_are_enough_to_call_the_model(exported, tmp_path):
    folder = exported["three classes"]
    command = [sys.executable, "-I", "-c", CALLER, folder, json.dumps(BLOCKED), json.dumps(SENTENCES)]
    # With that variable, TensorFlow would look for Keras 2.
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["imported"] == []
    predictions = served_model.load(folder, "").predict([(text,) for text in SENTENCES])
    assert printed["answers"]["names"] == [each.values["label_name"] for each in predictions]
    expected = [each.values["probability"] for each in predictions]
    np.testing.assert_allclose(printed["answers"]["probabilities"], expected, atol=1e-6)
    softmax = np.exp(printed["answers"]["logits"])
    softmax /= softmax.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, [each.class_probabilities for each in predictions], atol=1e-6)
