"""Metrics -> plots."""
