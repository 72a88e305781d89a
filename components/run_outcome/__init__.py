"""RunOutcome: the report of a run on a cluster that ended before RunReport, written by an exit handler."""
