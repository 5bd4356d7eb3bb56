"""Beyond one run: results of shards become one."""
