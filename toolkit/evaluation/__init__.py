"""Labelled images and a model file -> a report."""
