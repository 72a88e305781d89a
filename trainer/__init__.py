"""The code that runs in TFX's Trainer: batches, model, training loop, export."""
