"""Labels and probabilities -> metrics."""
