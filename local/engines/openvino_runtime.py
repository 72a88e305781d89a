"""OpenVINO (https://docs.openvino.ai)."""

import onnx
import openvino
import tensorflow as tf

from local.engines.onnx_engine import Compute


def compile_float32(graph: onnx.ModelProto) -> Compute:
    """Compiles a graph of `onnx_graph`; the result can be called by one thread at a time."""
    core = openvino.Core()
    options = {
        # The threads compute one batch together.
        "PERFORMANCE_HINT": "LATENCY",
        # The default on processors that have it is bfloat16.
        "INFERENCE_PRECISION_HINT": "f32",
        # As many as TensorFlow may use; 0 is the default of both.
        "INFERENCE_NUM_THREADS": tf.config.threading.get_intra_op_parallelism_threads(),
        # Workers of `serve` would be pinned to the same processors.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(core.read_model(graph.SerializeToString()), "CPU", options)
    # It drops inputs that nothing needs, and refuses them: of an encoder with one layer, `places`.
    names = [each.get_any_name() for each in compiled.inputs]
    request = compiled.create_infer_request()
    return lambda inputs: request.infer({name: inputs[name] for name in names}, share_inputs=True)[0]
