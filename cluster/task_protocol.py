"""The protocol between compiler, entrypoint and replay: environment variables of a container, and its error line."""

# The id of the task, which the backend does not pass to it.
TASK_VARIABLE = "REVIEWS_TASK"

# Folder that all tasks share, with a subfolder per run, in which a failing task writes the reason.
REPORTS_VARIABLE = "REVIEWS_REPORTS_DIR"

# How often a failed task is retried.
RETRIES_VARIABLE = "REVIEWS_RETRIES"

# The image's working directory: parameters refer to files of the repository by their path in it.
IMAGE_DIR_VARIABLE = "REVIEWS_IMAGE_DIR"

# Prefix of a task's last line of output after an error of the user.
ERROR_PREFIX = "error: "

# An output that the compiled file declares and TFX does not know: the report as one HTML file, which KFP's page shows.
PAGE = "page"
PAGE_TYPE = {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}

# An output of RunOutcome that the compiled file declares and TFX does not know: the summary, at a URI that `runs` can
# compute. The backend's own URIs contain an id that only ML Metadata knows.
OUTCOME = "outcome"
OUTCOME_TYPE = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}


def outcome_uri(run_uri: str) -> str:
    """Returns the URI of a run's summary; `run_uri` is `<pipeline root>/<pipeline>/<run>`."""
    return f"{run_uri}/summary.json"
