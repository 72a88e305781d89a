"""ServingValidator: asks the exported model in a fresh process, and blesses it or not."""
