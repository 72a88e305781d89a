"""What a review is: its features, the curated schema, and the task that is learned from it."""
