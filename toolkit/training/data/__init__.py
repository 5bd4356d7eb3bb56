"""Labelled images -> decoded, in batches."""
