"""ModelGate: blesses a candidate according to its evaluation and its predictions for sentence pairs."""
