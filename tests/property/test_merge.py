"""Arbitrary layers, squashed at every base, against the specification as a naive tree.

`tests/generator.py` says what arbitrary means: every kind of entry, whiteouts plain and opaque,
links through symlinks, odd names, names twice, parents that nobody says, sparse files, xattrs,
every dialect; nothing looks at the tree that results. More of it: `--hypothesis-profile thorough`.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import generator, model
from tests.conformance.case import KINDS
from tests.fuzz.command import checked, refused


@st.composite
def images(draw: st.DrawFn) -> tuple[bytes, ...]:
    """Draw layers, lowest first; an image may be one that is refused."""
    return generator.layers(lambda options: draw(st.sampled_from(options)))


# A failing image is longer than hypothesis likes to print; it is printed to be squashed again.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@given(images())
def test_any_image_is_squashed_as_the_model_says_at_every_base(layers: tuple[bytes, ...]) -> None:
    """A1 to A6, M1 to M8, D0 to D3: the whole tree, the set and the order of what is written.

    An image that the model refuses is refused, wherever something is merged; without the layers
    that it refuses it is one that is taken.
    """
    good = generator.sound(layers)
    if good != layers:
        for keep in range(len(layers) - 1):
            refused(layers, keep)
    for keep in range(len(good) + 1):
        checked(good, keep)


#: Kinds of warning whose constructs the generator does not make, or hardly ever.
ONLY_IN_THE_CORPUS = {"global-header", "link-up-from-symlink", "nameless-entry", "root-spelling"}


def test_arbitrary_images_hold_all_that_matters() -> None:
    """The generator can say all that the model knows, also where engines disagree."""
    kinds: set[str] = set()
    warnings: set[str] = set()
    for seed in range(400):
        layers = generator.sound(generator.layers(Random(seed).choice))
        kinds |= {entry.kind for tar in layers for entry in model.read(tar)}
        warnings |= {warning.kind for warning in model.apply(layers).warnings}
    assert kinds == {*model.KINDS.values(), "whiteout", "opaque"}
    assert warnings >= KINDS - ONLY_IN_THE_CORPUS
