"""BaselineModel: the model that the candidate is compared with."""
