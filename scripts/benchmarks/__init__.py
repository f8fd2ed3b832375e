"""The workloads of scripts/bench, a module each or for a few, and what they share."""
