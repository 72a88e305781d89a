"""ModelGate: blesses a candidate by its evaluation and its answers to sentence pairs."""
