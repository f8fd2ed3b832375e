"""Squash the layers of container images."""
