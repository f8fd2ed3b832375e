"""Tar: paths, headers, the walk over a layer, the members of an archive."""
