"""Clean, split, train, export and label folders of images."""

__version__ = "0.1.0"
