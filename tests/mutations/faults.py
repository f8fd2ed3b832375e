"""The table of all faults; I3 is that `--verify` sees them."""

from __future__ import annotations

from tests.mutations.in_archives import IN_ARCHIVES
from tests.mutations.in_images import IN_IMAGES
from tests.mutations.in_layers import IN_LAYERS
from tests.mutations.in_merging import IN_MERGING

FAULTS = (*IN_LAYERS, *IN_MERGING, *IN_IMAGES, *IN_ARCHIVES)
