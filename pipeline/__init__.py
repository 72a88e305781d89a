"""What the pipeline is: configuration, graph, gates and the summary of a run."""
