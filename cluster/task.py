"""What the compiler and the entrypoint agree on: a container's command and variables."""

COMMAND = ("python", "-m", "cluster.entrypoint")

# The task's own id, which the backend does not tell it.
TASK_VARIABLE = "REVIEWS_TASK"

# Folder that all tasks share, with a folder for each run: where a task leaves why it failed.
REPORTS_VARIABLE = "REVIEWS_REPORTS_DIR"

# The image's working directory, in which parameters name the repository's files.
IMAGE_DIR_VARIABLE = "REVIEWS_IMAGE_DIR"
