"""squasher.cli.page: values in, one page out. What only a browser can tell is in tests/browser."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import squasher
from squasher.analysis import inspection
from squasher.analysis.inspection import FolderShare, HistoryRow, Inspection, PathShare
from squasher.cli import page, texts
from squasher.errors import UsageError
from tests import nasty
from tests.builders import Dir, File, Whiteout, archive, layer

LAYERS = [
    layer(Dir(b"usr"), File(b"usr/big", b"x" * 60_000), File(b"usr/old", b"y" * 20_000)),
    layer(
        *(Dir(b"usr"), File(b"usr/big", b"z" * 50_000)),
        *(Dir(b"etc"), File(b"etc/<b>", b"k" * 4_000)),
    ),
    layer(Dir(b"usr"), Whiteout(b"usr/old")),
    layer(File(b"last", b"1")),
]
HISTORY: list[dict[str, object]] = [
    {"created_by": "/bin/sh -c #(nop) ADD file:1 in / ", "created": "2024-01-02T03:04:05.6Z"},
    {"created_by": "|1 A=b /bin/sh -c make &&\n\tmake install", "comment": "of <buildkit>"},
    {"created_by": "ENV A=b", "empty_layer": True},
    {"created_by": "RUN rm /usr/old"},
    {"created_by": "COPY last /"},
]


def inspected(data: bytes) -> list[Inspection]:
    with squasher.open_archive(io.BytesIO(data)) as opened:
        return [inspection.inspect(image, source="app.tar") for image in opened.images]


@pytest.fixture(scope="module")
def app() -> Inspection:
    (found,) = inspected(archive(LAYERS, tags=("app:1", "app:2"), history=HISTORY))
    return found


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Take an element."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each such element."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        """Return all text, blanks made one."""
        return " ".join(" ".join(self.texts).split())


def test_what_the_page_says(app: Inspection) -> None:
    text = Page(page.render([app])).text
    assert "app:1 \N{EN DASH} what is inside" in text
    assert f"Image ID sha256:{app.image_id.hex}" in text
    assert "Tags app:1 , app:2" in text
    assert "Wasted 80.0 kB 59.7 % of all content" in text
    assert "Efficiency 40.3 % as dive counts it" in text
    assert app.best
    assert app.best.kept_layers == 0
    assert "Squash all 4 layers into one of " in text
    assert f"{app.best.command}" in text
    assert "ADD file:1 in /" in text
    assert "make && make install" in text
    assert "kept 0 B · overwritten 60.0 kB (2) · deleted 20.0 kB (1)" in text
    assert "1 entry · 1 whiteout" in text
    assert "60.0 kB /usr/big 1 50.0 kB 75.0 %" in text
    assert "20.0 kB /usr/old 1 gone 25.0 %" in text
    assert f"0 none {page._size(app.bases[0].squashed_layer_size)}" in text
    assert f"{app.bases[1].squashed_layer_size:,}" in text
    first = page._size(app.layers[0].size)
    assert f"1 1 {first} 2024-01-02 03:04:05 /bin/sh -c #(nop) ADD file:1 in /" in text
    assert "|1 A=b /bin/sh -c make && make install of <buildkit>" in text
    assert "3 \N{EN DASH} \N{EN DASH} \N{EN DASH} ENV A=b" in text
    assert "Where engines disagree" not in text


def test_a_base_that_keeps_something_is_said_in_words(app: Inspection) -> None:
    def said(kept: int) -> str:
        bases = [replace(each, best=each.kept_layers == kept) for each in app.bases]
        return Page(page.render([replace(app, bases=tuple(bases))])).text

    assert "Keep the lowest layer as it is and squash the 3 above into one of " in said(1)
    assert "Keep the lowest 2 layers as they are and squash the 2 above into one" in said(2)
    assert said(2).count("best") == said(0).count("best")


def test_a_page_of_several_images(app: Inspection) -> None:
    other = replace(app, name="other:1", tags=())
    found = Page(page.render([app, other]))
    assert "2 images \N{EN DASH} what is inside" in found.text
    assert [each["href"] for each in found.all("a")[1:3]] == ["#image-1", "#image-2"]
    sound(found)


def test_an_image_without_anything() -> None:
    (empty,) = inspected(archive([layer()], tags=(), history=None))
    found = Page(page.render([replace(empty, layers=(), bases=(), rows=())]))
    assert "Squashing would not make this image smaller." in found.text
    assert "Nothing: no byte of content is overwritten or deleted later." in found.text
    assert "No file has any content." in found.text
    assert "This image has no history." in found.text
    sound(found)


def test_what_is_long_is_counted_and_not_shown(app: Inspection) -> None:
    long = replace(
        app,
        tags=tuple(f"app:{n}" for n in range(25)),
        layers=app.layers * 100,
        rows=app.rows * 100,
        bases=app.bases * 100,
        wasted=app.wasted * 100,
    )
    text = Page(page.render([long])).text
    assert "app:19 and 5 more" in text
    assert "and 100 more layers" in text
    assert "The paths that waste most: 50 of 200" in text
    assert "and 100 more " in text
    assert "and 200 more rows" in text


# ---------------------------------------------------------------- form


def sound(found: Page) -> None:
    """Check what every page owes to readers of all kinds."""
    names = {name for name, _ in found.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "form", "base", "a:href"}
    assert found.all("html") == [{"lang": "en"}]
    assert "default-src 'none'; style-src 'unsafe-inline'" in [
        each.get("content") for each in found.all("meta")
    ]
    assert (
        len(found.all("main"))
        == len(found.all("h1"))
        == len(found.all("title"))
        - len([1 for name, _ in found.tags if name == "svg"])
        + len([1 for each in found.all("svg") if each.get("aria-hidden")])
    )
    levels = [int(name[1]) for name, _ in found.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    ids = [each["id"] for _, each in found.tags if "id" in each]
    assert len(ids) == len(set(ids))
    for _, each in found.tags:
        for name in ("aria-labelledby", "href"):
            for target in each.get(name, "").split():
                assert target.removeprefix("#") in ids, target
        if each.get("role") == "region":
            assert each["tabindex"] == "0"
            assert each["aria-label"]
    assert len(found.all("table")) == len(found.all("caption"))
    assert all(each.get("scope") in ("row", "col") for each in found.all("th"))


def test_the_form_of_the_page(app: Inspection) -> None:
    html = page.render([app])
    assert html.startswith("<!DOCTYPE html>\n<html")
    assert not re.search(r"url\((?!#)|@import|https?:|//", html)
    sound(Page(html))


#: All that a page is made of.
ELEMENTS = """
    html head meta title style body a svg defs pattern rect line circle text tspan desc header nav
    ul ol li p h1 h2 h3 dl dt dd div bdi code main article section strong pre span b figure
    figcaption details summary table caption thead tbody tr th td footer
"""


def test_nothing_from_an_image_is_markup_or_unseen() -> None:
    (image,) = inspected(nasty.image("oci"))
    tags = tuple(nasty.STRINGS.values())
    html = page.render([replace(image, name=nasty.ALL, tags=tags, platform=nasty.ALL)])
    assert nasty.harmless(html)
    found = Page(html)
    sound(found)
    assert {name for name, _ in found.tags} <= set(ELEMENTS.split())
    attributes = {name for _, each in found.tags for name in each}
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    for marker in nasty.MARKERS:
        assert marker in found.text
    assert "Where engines disagree" in found.text
    assert "ghost-whiteout: a whiteout names a path that no lower layer has" in found.text


def big(app: Inspection, letter: str) -> Inspection:
    """Return the facts of an image of 80,000 entries whose texts are as long as can be."""
    name = (letter * 4095).encode()[:4000].decode(errors="ignore")
    folders = [f"{a}{name[:50]}/{b}{name[:50]}" for a in range(40) for b in range(50)]
    files = [f"{folder}/{n}{name[:50]}".encode() for n in range(40) for folder in folders]
    files = [path for _, path in zip(range(80_000), files, strict=False)]
    total = len(files) * 10**6
    parents = [FolderShare(folder.encode(), 40 * 10**6, 40 * 10**6) for folder in folders]
    tops = [FolderShare(f"{a}{name[:50]}".encode(), 2 * 10**9, 2 * 10**9) for a in range(40)]
    paths = [PathShare(path, 10**6, 10**6, 1) for path in files]
    row = HistoryRow(name, name, name, False, 0)
    one = replace(
        app.layers[0], created_by=name, added=total, overwritten=total // 2, deleted=total // 4
    )
    base = replace(app.bases[0], command=name)
    return replace(
        app,
        name=name,
        tags=(name,) * 1000,
        platform=name,
        rows=(row,) * 1000,
        layers=(one,) * 1000,
        bases=(base,) * 1000,
        folders=(FolderShare(b"", total, total), *tops, *parents),
        wasted=tuple(paths),
        largest=tuple(paths[: inspection.LARGEST]),
    )


@pytest.mark.parametrize("letter", ["a", "'", "\x1b", "\U0001f433"])
def test_the_page_stays_below_a_megabyte(app: Inspection, letter: str) -> None:
    html = page.render([big(app, letter)])
    assert len(html.encode()) < 1_000_000


def test_several_images_share_the_page(app: Inspection) -> None:
    one = big(app, "a")
    assert len(page.render([one] * 3).encode()) < 1_000_000


# ---------------------------------------------------------------- colours

CSS = (Path(page.__file__).parent / "templates" / "page.css").read_text()


def colours(dark: bool) -> dict[str, str]:
    light, night = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light + (night if dark else "")))


def ratio(one: str, other: str) -> float:
    """Return the contrast of two colours. Source: WCAG 2.2, "relative luminance"."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lower, upper = sorted((luminance(one), luminance(other)))
    return (upper + 0.05) / (lower + 0.05)


#: Text needs 4.5 to 1, what carries meaning in a picture 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11).
TEXTS = (
    ("ink", "paper"),
    ("soft", "paper"),
    ("link", "paper"),
    ("ink", "best"),
    ("soft", "best"),
    ("best-ink", "best"),
    *(("there-ink", f"there-{n}") for n in (1, 2, 3)),
    *(("waste-ink", f"waste-{n}") for n in (1, 2, 3)),
)
GRAPHICS = (
    *((bar, ground) for bar in ("kept", "over", "gone") for ground in ("paper", "wash", "stripe")),
    ("link", "best"),
    ("edge", "paper"),
)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_contrast(dark: bool) -> None:
    known = colours(dark)
    low = [
        (one, other, round(ratio(known[one], known[other]), 2))
        for pairs, least in ((TEXTS, 4.5), (GRAPHICS, 3.0))
        for one, other in pairs
        if ratio(known[one], known[other]) < least
    ]
    assert not low


def test_every_colour_has_a_name_and_a_counterpart_in_the_dark() -> None:
    light, night = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    assert re.findall(r"--[\w-]+", light) == re.findall(r"--[\w-]+", night)
    assert not re.search(r"#[0-9a-f]{3,8}\b", CSS.replace(light, "").replace(night, ""))


def test_contrast_is_that_of_the_guidelines() -> None:
    assert math.isclose(ratio("#ffffff", "#000000"), 21)
    assert math.isclose(ratio("#777777", "#ffffff"), 4.478, abs_tol=0.001)


# ---------------------------------------------------------------- treemaps

FOLDERS = {b"": 1000, b"a": 900, b"a/b": 900, b"a/b/c": 600, b"a/b/d": 300}
FILES = {b"a/b/c/1": 400, b"a/b/c/2": 150, b"a/b/d/3": 300, b"top": 99}


def test_the_tiles_of_a_map() -> None:
    found = page.tiles(FOLDERS, FILES, 800, 500, 2400)
    assert [(tile.level, tile.open, tile.name, tile.label, tile.size) for tile in found] == [
        (1, True, "/a/b", "a/b", 900),
        (2, True, "/a/b/c", "c", 600),
        (3, False, "/a/b/c/1", "1", 400),
        (3, False, "/a/b/c/2", "2", 150),
        (3, False, "", "the rest", 50),
        (2, False, "/a/b/d/3", "d/3", 300),
        (1, False, "/top", "top", 99),
        (1, False, "", "", 1),
    ]
    assert [tile.amount for tile in found] == [
        *("900 B", "600 B", "400 B", "150 B", "50 B", "300 B", "99 B", ""),
    ]


def test_small_tiles_say_less() -> None:
    found = page.tiles({b"": 1000}, {b"a-long-name": 980, b"another": 20}, 120, 60, 100)
    assert [(tile.label, tile.amount) for tile in found] == [("a-long-name", "980 B"), ("", "")]
    (one,) = page.tiles({b"": 10}, {b"a-long-name": 10}, 60, 25, 100)
    assert (one.label, one.amount) == ("a-long…", "")


def test_nothing_to_draw() -> None:
    assert page.tiles({}, {}, 800, 500, 2400) == []
    assert page.tiles({b"": 0}, {b"empty": 0}, 800, 500, 2400) == []
    assert page.tiles({b"": 10**9}, {b"small": 1}, 800, 500, 2400) == []


def test_few_tiles_need_little_room(app: Inspection) -> None:
    heights = re.compile(r'class="map (\w+)" height="(\d+)"')
    assert heights.findall(page.render([app])) == [("wide", "96"), ("tall", "96")] * 2
    folders = tuple(FolderShare(b"%d" % i if i else b"", 10, 10) for i in range(9))
    folders = (replace(folders[0], size=80, wasted=80), *folders[1:])
    many = replace(app, folders=folders, largest=())
    assert heights.findall(page.render([many])) == [("wide", "520"), ("tall", "460")] * 2


NAMES = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(b"/".join)


def within(outer: page.Tile, inner: page.Tile) -> bool:
    slack = 1e-6
    return (
        outer.x - slack <= inner.x
        and outer.y - slack <= inner.y
        and inner.x + inner.width <= outer.x + outer.width + slack
        and inner.y + inner.height <= outer.y + outer.height + slack
    )


def apart(one: page.Tile, other: page.Tile) -> bool:
    slack = 1e-6
    return (
        one.x + one.width <= other.x + slack
        or other.x + other.width <= one.x + slack
        or one.y + one.height <= other.y + slack
        or other.y + other.height <= one.y + slack
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.dictionaries(PATHS, st.integers(1, 10**13), min_size=1, max_size=40))
def test_tiles_never_overlap_and_lie_in_their_folders(files: dict[bytes, int]) -> None:
    """Their areas are as their sizes: whole maps, and the children of each folder."""
    leaves = {p: n for p, n in files.items() if not any(q.startswith(p + b"/") for q in files)}
    folders = dict.fromkeys([b""], 0)
    for path, size in leaves.items():
        parts = path.split(b"/")
        for i in range(len(parts)):
            folder = b"/".join(parts[:i])
            folders[folder] = folders.get(folder, 0) + size
    whole = page.Tile(0, 0, 100, 520, 0, True, "", "", "", folders[b""])
    stack = [whole]
    children: dict[int, list[page.Tile]] = {}
    for tile in page.tiles(folders, leaves, 960, 520, 2400):
        del stack[tile.level :]
        assert within(stack[-1], tile)
        if len(stack) > 1:
            assert tile.y >= stack[-1].y + page._HEAD, "the folder's name stays free"
        children.setdefault(id(stack[-1]), []).append(tile)
        stack.append(tile)
    for siblings in children.values():
        scale = siblings[0].width * siblings[0].height / siblings[0].size
        for tile in siblings:
            assert math.isclose(tile.width * tile.height, tile.size * scale, rel_tol=1e-3)
        assert all(apart(a, b) for i, a in enumerate(siblings) for b in siblings[:i])


# ---------------------------------------------------------------- words


def test_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    page.check()
    for library in ("jinja2", "squarify"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            with pytest.raises(UsageError, match=r"--html: .*pip install 'image-squasher\[html\]'"):
                page.check()


def test_steps_are_those_of_the_terminal_as_far_as_a_table_takes_them() -> None:
    steps = ("/bin/sh -c make\n  all", "RUN |1 A=1 /bin/sh -c make # buildkit", "a" * 600, "")
    assert [page.step(row) for row in steps] == [texts.step(row) for row in steps]
    long = page.step("/bin/sh -c " + "a" * 10_000)
    assert (long[:5], long[-1], len(long)) == ("RUN a", "…", 600)


def test_names_of_paths() -> None:
    assert page.path_name(b"") == "/"
    assert page.path_name("é/b".encode()) == "/é/b"
    assert page.path_name(b"\xff\x1b\n") == "/\\xff\\x1b\\n"
    long = page.path_name(b"a" * 200 + b"/end")
    assert len(long) == 120
    assert long.startswith("/aaa")
    assert long.endswith("a/end")


def test_shares() -> None:
    assert page.percent(1, 3) == "33.3 %"
    assert page.percent(1, 10**6) == "under 0.1 %"
    assert [page.percent(part, 10_000) for part in (9994, 9995, 9999, 10_000)] == [
        "99.9 %",
        "over 99.9 %",
        "over 99.9 %",
        "100.0 %",
    ]
    assert page.percent(-1, 10) == "\N{MINUS SIGN}10.0 %"
    assert page.percent(0, 10) == page.percent(0, 0) == "0.0 %"


def test_sizes_may_be_negative() -> None:
    assert page._size(-1500) == "\N{MINUS SIGN}1.5 kB"
    assert page._size(1500) == "1.5 kB"
