"""Says what a run came to where it did not reach RunReport: a cluster's exit handler."""
