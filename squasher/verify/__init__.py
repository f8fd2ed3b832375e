"""Is it the same? Shares with what squashes only what reads."""
