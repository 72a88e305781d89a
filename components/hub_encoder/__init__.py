"""HubEncoder: brings a published encoder into the pipeline, once."""
