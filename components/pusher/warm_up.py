"""`assets.extra/tf_serving_warmup_requests`: what TensorFlow Serving runs before a version answers its first request.

Without it, the first requests wait until the graph is optimised. The requests are some of those that the serving gate
has sent to this model, without any text of the data: a pushed folder holds no reviews.
"""

import os

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from artifacts import model_files
from components.serving_validator import request_set

_SIGNATURE = "serving_default"


def write(model_path: str, model_name: str, inputs: int) -> None:
    """Writes the requests into a model's folder.

    Args:
      model_path: the folder.
      model_name: name of the model in the requests; TensorFlow Serving runs them whatever name it serves.
      inputs: number of texts of a row: 1, or 2 for pairs.
    """
    path = os.path.join(model_path, model_files.WARM_UP_REQUESTS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for request in request_set.requests_without_reviews(inputs):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.name = model_name
            log.predict_log.request.model_spec.signature_name = _SIGNATURE
            for name, texts in request.inputs.items():
                log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, tf.string, [len(texts)]))
            writer.write(log.SerializeToString())
