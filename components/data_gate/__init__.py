"""DataGate: stops a run whose data is not fit to learn from, before anything is trained."""
