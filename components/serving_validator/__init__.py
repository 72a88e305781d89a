"""ServingValidator: blesses the exported model if it serves correctly in a fresh process."""
