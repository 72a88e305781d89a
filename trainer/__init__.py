"""What runs inside the stock Trainer: batches, model, training, export."""
