"""ModelGate: the verdict on a candidate, from its evaluation and from sentence pairs it is asked."""
