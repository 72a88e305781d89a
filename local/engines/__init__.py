"""What computes the answers of a loaded model on this machine: TensorFlow, or another runtime.

| module                | content                                                       |
|-----------------------|---------------------------------------------------------------|
| `choice.py`           | makes an engine, and lets it through a gate                   |
| `onnx_engine.py`      | answers with an ONNX graph                                    |
| `onnx_graph.py`       | the network of a model as an ONNX graph                       |
| `onnx_runtime.py`     | ONNX Runtime, which computes the graph                        |
| `openvino_runtime.py` | OpenVINO, the same                                            |

Texts are tokenised by the model itself, whatever the engine.
"""

TENSORFLOW, ONNX, ONNX_INT8, OPENVINO = "tensorflow", "onnx", "onnx-int8", "openvino"
NAMES = (TENSORFLOW, ONNX, ONNX_INT8, OPENVINO)
