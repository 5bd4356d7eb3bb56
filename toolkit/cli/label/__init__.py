"""Commands that label images, and those that look at labels."""
