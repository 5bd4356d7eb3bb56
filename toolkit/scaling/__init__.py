"""Beyond one run: results of shards become one, a model as a function for other engines."""
