"""ServingValidator: blesses the exported model if it serves well in a fresh process."""
