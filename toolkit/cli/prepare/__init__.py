"""Commands that prepare data: split, check."""
