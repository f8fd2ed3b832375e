"""The command: options in, text out."""
