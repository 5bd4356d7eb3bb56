"""Class folders -> a split tree: plan, place, table."""
