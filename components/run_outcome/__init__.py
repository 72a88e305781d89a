"""RunOutcome: an exit handler that writes the report of a cluster run that failed before RunReport."""
