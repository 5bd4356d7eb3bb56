"""A recipe: its file, its rules, what its shapes need."""
