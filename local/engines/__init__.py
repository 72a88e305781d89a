"""What computes the answers of a loaded model on this machine: TensorFlow, or another runtime.

| module           | content                                                            |
|------------------|--------------------------------------------------------------------|
| `choice.py`      | makes an engine, and lets it through a gate                        |
| `onnx_engine.py` | ONNX Runtime                                                       |
| `onnx_graph.py`  | the network of a model as an ONNX graph                            |

Texts are tokenised by the model itself, whatever the engine.
"""

TENSORFLOW, ONNX, ONNX_INT8 = "tensorflow", "onnx", "onnx-int8"
NAMES = (TENSORFLOW, ONNX, ONNX_INT8)
