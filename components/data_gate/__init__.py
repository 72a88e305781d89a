"""DataGate: stops a run before training if its data is unfit for training."""
