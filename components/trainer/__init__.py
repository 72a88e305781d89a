"""Trainer: TFX's Trainer for students, which learn from the labels of teachers too."""
