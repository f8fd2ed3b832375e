"""Layers: read, applied to a tree, merged into a new one."""
