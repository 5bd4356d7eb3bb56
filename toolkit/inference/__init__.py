"""Samples and a model file -> result rows."""
