"""TeacherLabels: labels texts with the answers of larger models, for a small one to learn from."""
