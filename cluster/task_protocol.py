"""What the compiler, the entrypoint and the replay agree on: a container's environment variables and its error line."""

# The task's own id, which the backend does not pass on.
TASK_VARIABLE = "REVIEWS_TASK"

# Folder that all tasks share, with a folder for each run: a failing task leaves its reason there.
REPORTS_VARIABLE = "REVIEWS_REPORTS_DIR"

# The image's working directory: parameters name the repository's files by their path in it.
IMAGE_DIR_VARIABLE = "REVIEWS_IMAGE_DIR"

# Starts the line with which a task ends on an error of the user.
ERROR_PREFIX = "error: "
