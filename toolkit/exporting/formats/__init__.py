"""A network -> a file of each format, exact or in smaller numbers."""
