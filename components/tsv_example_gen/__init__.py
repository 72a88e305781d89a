"""TsvExampleGen: converts TSV files to `tf.Example` records in three splits without silently dropping a line."""
