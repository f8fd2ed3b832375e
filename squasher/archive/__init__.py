"""Archives and layouts: from a path, stdin or the daemon to images, and back."""
