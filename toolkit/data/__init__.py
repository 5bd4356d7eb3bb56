"""Folders, archives and lists -> samples and classes."""
