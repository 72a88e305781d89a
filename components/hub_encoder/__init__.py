"""HubEncoder: imports a published encoder into the pipeline once."""
