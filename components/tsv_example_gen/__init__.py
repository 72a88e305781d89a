"""TsvExampleGen: reviews in TSV files to `tf.Example` records in three splits, nothing lost in silence."""
