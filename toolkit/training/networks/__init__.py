"""A recipe -> Keras networks."""
