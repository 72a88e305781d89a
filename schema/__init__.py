"""The data model of reviews: features, curated schema, slices, rejections, and the task to learn from them."""
