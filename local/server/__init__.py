"""`serve`: an HTTP server with TensorFlow Serving's REST form, for one machine.

| module           | content                                                                         |
|------------------|---------------------------------------------------------------------------------|
| `listener.py`    | the port                                                                        |
| `settings.py`    | what and how to serve                                                           |
| `run.py`         | the server's process: puts the parts together, terminal output, signals         |
| `app.py`         | routes, statuses of errors, health                                              |
| `methods.py`     | what a request to the model does                                                |
| `rest.py`        | TensorFlow Serving's requests and responses                                     |
| `batcher.py`     | computes waiting requests together                                              |
| `pool.py`        | the workers of a version: processes that compute, which are restarted           |
| `worker.py`      | the process of a worker                                                         |
| `versions.py`    | loads versions that appear in the serving folder, and switches to them          |
| `metadata.py`    | the signatures of a SavedModel, as TensorFlow Serving shows them                |
| `explanation.py` | which words pushed an answer                                                    |
| `metrics.py`     | Prometheus metrics                                                              |
| `request_log.py` | one line of JSON for each row                                                   |
| `page.py`        | the page at `/`                                                                 |
"""
