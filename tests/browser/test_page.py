"""The page of `squash inspect --html` as people meet it: on a screen, a phone, paper, by keyboard.

To look at it oneself: `pytest tests/browser --pictures DIR` leaves what the browser drew there.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe

import squasher
from squasher.analysis import inspection
from squasher.analysis.updates import PathCost, update_cost
from squasher.cli import page
from tests import nasty
from tests.browser.browser import Browser

DEMO = Path(__file__).parents[2] / "testdata" / "demo.tar"
WIDTHS = (1280, 768, 360)
SCHEMES = ("light", "dark")
#: What WCAG 2.1 asks for at its levels A and AA.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def _demo() -> list[inspection.Inspection]:
    with squasher.open_archive(str(DEMO)) as archive:
        return [inspection.inspect(image, source="demo.tar") for image in archive.images]


def _nasty() -> list[inspection.Inspection]:
    """Return an image whose every text is odd, with names as long and as wide as can be."""
    with squasher.open_archive(io.BytesIO(nasty.image("oci"))) as archive:
        image = inspection.inspect(archive.images[0], source="שלום " * 30)
    longest = "/".join(["W" * 255] * 15).encode()
    return [
        replace(
            image,
            name=nasty.ALL,
            tags=("w" * 200, "עברית/شيء:1", *nasty.STRINGS.values()),
            platform="x" * 100,
            wasted=(inspection.PathShare(longest, 10**12, 10**12, 10**6), *image.wasted),
            folders=(
                inspection.FolderShare(b"", 10**12, 10**12),
                inspection.FolderShare("שם".encode(), 10**12, 10**12),
                *image.folders[1:],
            ),
            largest=(inspection.PathShare("שם/قابل".encode(), 10**12, 0, 0), *image.largest),
        )
    ]


def _several() -> list[inspection.Inspection]:
    return [*_demo(), *(replace(each, name="other:1") for each in _demo())]


def _update() -> list[inspection.Inspection]:
    """Return the same odd image with what it would cost onto the demo image."""
    (image,) = _nasty()
    with (
        squasher.open_archive(io.BytesIO(nasty.image("oci"))) as odd,
        squasher.open_archive(str(DEMO)) as demo,
    ):
        cost = update_cost(odd.images[0], demo.images[0])
    longest = "/".join(["W" * 255] * 15).encode()
    paths = (PathCost(longest, "time alone", 10**9), *cost.paths)
    return [replace(image, update=replace(cost, previous_name=nasty.ALL, paths=paths))]


IMAGES = {"demo": _demo, "nasty": _nasty, "several": _several, "update": _update}


@pytest.fixture(scope="module", params=IMAGES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page about an image of each kind."""
    made = tmp_path_factory.mktemp("page") / f"{request.param}.html"
    made.write_text(page.render(IMAGES[request.param]()), encoding="utf-8")
    return made


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give the folder for what the browser draws."""
    folder: Path = request.config.getoption("--pictures") or tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_asks_for_nothing(
    browser: Browser, file: Path, width: int, scheme: str, pictures: Path
) -> None:
    browser.show(file, width, scheme)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.run(OVERFLOWING, width) == []
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 23, 28)")
    browser.picture(pictures / f"{file.stem}-{width}-{scheme}.png")


#: Elements that stick out of the page at the side, those in a box that scrolls or clips left out.
OVERFLOWING = """
    const clipped = e => e && (getComputedStyle(e).overflowX !== 'visible' ||
        clipped(e.parentElement));
    return [...document.body.querySelectorAll('*')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && (box.right > arguments[0] + 0.5 || box.left < -0.5) &&
            !clipped(e.parentElement) && !e.closest('.skip');
    }).map(e => e.outerHTML.slice(0, 200));
"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(browser: Browser, file: Path, width: int, scheme: str) -> None:
    browser.show(file, width, scheme)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = Axe().run(browser.driver, options=RULES)
    assert [
        (rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]
    ] == []
    assert len(found["passes"]) > 20


def test_everything_is_reached_by_tab_and_seen_there(browser: Browser, file: Path) -> None:
    browser.show(file, 1280)
    wanted = browser.run(
        "return [...document.querySelectorAll('a, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).map(e => e.cloneNode(false).outerHTML)"
    )
    reached = browser.tab_through()
    assert [tag for tag, _ in reached] == wanted
    assert {outline for _, outline in reached} == {"solid 3px"}
    assert 'class="skip"' in wanted[0]
    browser.run("document.querySelector('.skip').focus()")
    assert browser.run("return document.activeElement.getBoundingClientRect().top") >= 0


def test_what_scrolls_can_be_scrolled_by_keyboard(browser: Browser, file: Path) -> None:
    browser.show(file, 360)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    stuck = browser.run(
        "return [...document.querySelectorAll('*')].filter(e =>"
        " ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) &&"
        " e.scrollWidth > e.clientWidth && e.tabIndex < 0).map(e => e.outerHTML.slice(0, 200))"
    )
    assert stuck == []


def test_tables_and_pictures_tell_the_same(browser: Browser, file: Path) -> None:
    browser.show(file, 1280)
    tiles = browser.count("figure .map.wide > svg")
    assert browser.count("figure tbody tr") == tiles
    assert tiles > 0
    assert browser.count(".layers li") == browser.count(".layers .bar") > 0


def test_each_width_has_one_map_of_each_kind(browser: Browser, file: Path) -> None:
    for width, shape in ((1280, "wide"), (768, "wide"), (360, "tall")):
        browser.show(file, width)
        shown = browser.run(
            "return [...document.querySelectorAll('.map')].filter(e => e.checkVisibility())"
            ".map(e => e.classList[1])"
        )
        assert set(shown) == {shape}


def test_the_page_is_printed_in_light_colours_and_whole(
    browser: Browser, file: Path, pictures: Path
) -> None:
    browser.show(file, 1280, "dark", media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert browser.run(
        "return [...document.querySelectorAll('.scroll, pre')]"
        ".filter(e => e.checkVisibility() && getComputedStyle(e).overflowX !== 'visible').length"
    ) == (0)
    assert browser.run("return document.querySelector('nav').checkVisibility()") is False
    made = pictures / f"{file.stem}.pdf"
    browser.pdf(made)
    assert made.read_bytes().startswith(b"%PDF")
