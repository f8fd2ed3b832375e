"""Images as values, and the JSON documents that describe them."""
