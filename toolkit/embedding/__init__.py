"""Feature vectors of images: the network without its last layer."""
