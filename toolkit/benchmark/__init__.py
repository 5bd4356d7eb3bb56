"""How fast a model labels these images on this machine, with everything that is installed."""
