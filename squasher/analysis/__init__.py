"""What is in an image, and what squashing it would save."""
