"""ONNX Runtime (https://onnxruntime.ai)."""

import os
import tempfile

import onnx
import onnxruntime
import tensorflow as tf
from onnxruntime import quantization

from local.engines.onnx_engine import Compute


def compile_float32(graph: onnx.ModelProto) -> Compute:
    """Compiles a graph of `onnx_graph`."""
    return _compile(graph.SerializeToString())


def compile_int8(graph: onnx.ModelProto) -> Compute:
    """Compiles it with matrix products in 8-bit integers.

    Weights are rounded once, for each output of a kernel by its own scale, and activations in every call.
    """
    return _compile(_quantise(graph))


def _compile(content: bytes) -> Compute:
    options = onnxruntime.SessionOptions()
    # As many as TensorFlow may use; 0 is the default of both.
    options.intra_op_num_threads = tf.config.threading.get_intra_op_parallelism_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _quantise(graph: onnx.ModelProto) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file, result = (os.path.join(folder, name) for name in ("float32.onnx", "int8.onnx"))
        onnx.save(graph, file)
        quantization.quantize_dynamic(
            file,
            result,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            # Of attention, both factors are activations, which stay in float32.
            extra_options={"MatMulConstBOnly": True},
        )
        with open(result, "rb") as stream:
            return stream.read()
