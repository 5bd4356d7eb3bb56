"""A dataset and a recipe -> a bundle."""
