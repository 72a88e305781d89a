"""`import-encoder`: makes an encoder of TF Hub's format from a folder of transformers or a TensorFlow checkpoint."""
