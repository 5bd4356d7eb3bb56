"""What a model file says of itself: contract, bundle, history."""
