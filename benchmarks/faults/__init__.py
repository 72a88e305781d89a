"""Faults that are injected into whole runs, and what became of them."""
