"""Every maker's image, squashed in every form, in every engine: the tree is what it was there.

The form of the result changes from test to test, the compression of the new layer with the maker,
so that all of them meet in the course of it. `pytest -s` prints the matrix as it was measured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from squasher.cli import main
from tests.docs.blocks import ROOT
from tests.engines.engines import (
    DockerOnContainerd,
    EngineError,
    Loader,
    Podman,
    Umoci,
    loaders,
    places,
)
from tests.engines.makers import TAG, Maker, copy, makers
from tests.engines.tree import Tree, differences

PAGE = ROOT / "docs/how-to/other-engines.md"
FORMS = ("docker-archive", "oci-archive", "oci")
COMPRESSIONS = ("none", "gzip", "zstd")
Measured = dict[tuple[str, str, str], str]


@dataclass(frozen=True)
class Made:
    """An image and its squashed forms: transports by form, all with the same compression.

    reference   a docker-archive of the unsquashed image, which every engine takes
    """

    reference: Path
    squashed: dict[str, Path]
    compression: str


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """Collect what became of each form in each engine, and print it in the end."""
    found: Measured = {}
    yield found
    print("\n" + table(found))


@pytest.fixture(scope="module", params=list(enumerate(makers())), ids=lambda x: x[1].name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Give an image of each maker, squashed above its lowest layer in every form."""
    number: int
    maker: Maker
    number, maker = request.param
    if reason := maker.place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("made")
    source = maker.make(maker.place, folder / "source")
    reference = folder / "reference.tar"
    # The place of skopeo 1.9 is this system itself.
    # Not at once: it finds no docker type for zstd.
    plain = f"dir:{folder / 'plain'}"
    copy(loaders()[0].place, source, plain, "--dest-decompress")
    copy(loaders()[0].place, plain, f"docker-archive:{reference}:{TAG}")
    # The kept layers of one maker are zstd, whatever the new one is.
    packed = "zstd" if maker.name.endswith("zstd") else ""
    compression = packed or COMPRESSIONS[number % len(COMPRESSIONS)]
    squashed = {form: folder / form for form in FORMS}
    for form, path in squashed.items():
        # A reference of a layout is for the layout's own tools; elsewhere images have names.
        out = f"{form}:{path}" + (":app" if form == "oci" else "")
        words = ["--quiet", "--verify", "--keep-layers=1", f"--compress={compression}", source]
        assert main.run([*words, "-o", out, "-t", TAG]) == 0
    return Made(reference, squashed, compression)


@pytest.fixture(params=loaders(), ids=lambda loader: loader.name)
def loader(request: pytest.FixtureRequest) -> Loader:
    """Give an engine, emptied."""
    found: Loader = request.param
    if reason := found.place.missing():
        pytest.fail(reason)
    found.prune()
    return found


def test_the_tree_is_what_it_was(
    made: Made, loader: Loader, measured: Measured, tmp_path: Path
) -> None:
    since = time.time_ns()
    (ref,) = loader.load(made.reference)
    before = loader.tree(ref)
    for tool, version in tools(loader).items():
        for form, take in ways(loader, tool).items():
            loader.prune()
            key = (f"{tool} {version}", form, made.compression)
            if refuses(tool, version, form, made.compression):
                with pytest.raises(EngineError):
                    take(loader, made.squashed[form])
                measured[key] = "no"
                continue
            found, measured[key] = measured.get(key, "yes"), "failed"
            tree = take(loader, made.squashed[form])
            assert differences(before, tree, stamped_since=since) == []
            measured[key] = found


# ---------------------------------------------------------------- the ways in

Take = Callable[[Loader, Path], Tree]


def tools(loader: Loader) -> dict[str, str]:
    """Return the page's names of what takes images for `loader`, with their versions."""
    if isinstance(loader, Umoci):
        umoci, _, skopeo = loader.version.split()
        return {"umoci": umoci, "skopeo": skopeo}
    if isinstance(loader, DockerOnContainerd):
        return {"docker on containerd": loader.version}
    return {loader.name.partition("-")[0]: loader.version}


def ways(loader: Loader, tool: str) -> dict[str, Take]:
    """Return how `tool` takes each form that it has a command for."""
    if tool == "umoci":
        return {"oci": _unpacked}
    if tool == "skopeo":  # umoci shows what it has copied
        archive, layout = partial(_copied, "oci-archive"), partial(_copied, "oci")
        return {"docker-archive": _loaded, "oci-archive": archive, "oci": layout}
    both: dict[str, Take] = {"docker-archive": _loaded, "oci-archive": _loaded}
    return {**both, "oci": _pulled} if isinstance(loader, Podman) else both


def _loaded(loader: Loader, path: Path) -> Tree:
    """Load the archive, under the name that it has."""
    refs = loader.load(path)
    if not isinstance(loader, Umoci):
        assert refs == [TAG]
    return loader.tree(refs[0])


def _copied(form: str, loader: Loader, path: Path) -> Tree:
    """Have skopeo copy the oci-archive, or the image of the layout."""
    with loader.place.folder() as folder:
        source = f"{form}:{folder}/image"
        if form == "oci":
            shutil.copytree(path, f"{folder}/image")
            source += ":app"
        else:
            shutil.copyfile(path, f"{folder}/image")
        # Not at once: skopeo 1.9 finds no docker type for zstd.
        copy(loader.place, source, f"dir:{folder}/plain", "--dest-decompress")
        copy(loader.place, f"dir:{folder}/plain", f"docker-archive:{folder}/out.tar")
        (ref,) = loader.load(Path(folder, "out.tar"))
    return loader.tree(ref)


def _pulled(loader: Loader, path: Path) -> Tree:
    """Have podman pull from the folder of the layout."""
    assert isinstance(loader, Podman)
    with loader.place.folder() as folder:
        shutil.copytree(path, f"{folder}/layout")
        done = subprocess.run(
            loader.command("pull", "--quiet", f"oci:{folder}/layout:app"),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise EngineError(done.stderr)
    return loader.tree(done.stdout.strip())


def _unpacked(loader: Loader, path: Path) -> Tree:
    """Have umoci unpack the image of the layout."""
    with loader.place.folder() as folder:
        shutil.copytree(path, f"{folder}/layout")
        return loader.tree(f"{folder}/layout:app")


def refuses(tool: str, version: str, form: str, compression: str) -> bool:
    """Tell whether a tool is known not to take a form. The page says so too."""
    if tool == "docker":
        # The classic store reads manifest.json alone, which an OCI archive has not; docker learnt
        # zstd with version 23.
        old = version.startswith("20.10")
        return form == "oci-archive" or (compression == "zstd" and old)
    # umoci 0.4.7 knows gzip alone.
    return tool == "umoci" and version.startswith("0.4") and compression == "zstd"


# ---------------------------------------------------------------- the matrix


def table(measured: Measured) -> str:
    """Return the matrix as Markdown: a row for each tool, a column for each form."""
    columns = [(form, how) for form in FORMS for how in COMPRESSIONS]
    heads = [f"{form}, {how}" for form, how in columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for tool in dict.fromkeys(tool for tool, _, _ in measured):
        cells = [measured.get((tool, *column), "-") for column in columns]
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# ---------------------------------------------------------------- the page
#
# What a test above requires of an engine is what the page may say of it.


@dataclass(frozen=True)
class Row:
    """A row of the page: an engine in some versions, what it takes by form."""

    engine: str
    versions: tuple[str, ...]
    cells: tuple[str, ...]

    def of(self, engine: str, version: str) -> list[str]:
        """Return which of its versions stand for this one."""
        return [x for x in self.versions if engine == self.engine and is_version(version, x)]


def is_version(version: str, shown: str) -> bool:
    """Tell whether a version is what the page calls by its first numbers."""
    return re.match(rf"{re.escape(shown)}(?!\d)", version) is not None


def page_rows() -> list[Row]:
    """Return the table of the page."""
    found = []
    for line in PAGE.read_text("utf-8").partition("| | docker-archive")[2].splitlines()[2:]:
        if not line:
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        match = re.fullmatch(r"([a-z]+) ([\d., ]+?)( with containerd's store .*)?", name)
        assert match, name
        versions = tuple(match[2].split(", "))
        found.append(Row(match[1] + (" on containerd" if match[3] else ""), versions, tuple(cells)))
    return found


def required(loader: Loader) -> Iterator[Row]:
    """Yield what the tests require of an engine's tools, as rows; umoci gets archives of skopeo."""
    for tool, version in tools(loader).items():
        cells = []
        for form in FORMS:
            taken = [x for x in COMPRESSIONS if not refuses(tool, version, form, x)]
            words = ", ".join(taken).replace("none", "plain") or "no"
            missing = "through skopeo" if tool == "umoci" else "-"
            cells.append(words if form in ways(loader, tool) else missing)
        yield Row(tool, (version,), tuple(cells))


@pytest.fixture
def all_places() -> None:
    """Require every generation of engines."""
    for place in places():
        if reason := place.missing():
            if os.environ.get("SQUASHER_ENGINES") == "required":
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.mark.usefixtures("all_places")
def test_the_page_has_the_matrix() -> None:
    rows = page_rows()
    used = []
    for each in (row for loader in loaders() for row in required(loader)):
        (version,) = each.versions
        hits = [(row, x) for row in rows for x in row.of(each.engine, version)]
        assert len(hits) == 1, each
        ((row, shown),) = hits
        assert row.cells == each.cells, each
        used.append((row.engine, shown))
    assert set(used) == {(row.engine, x) for row in rows for x in row.versions}


@pytest.mark.usefixtures("all_places")
@pytest.mark.parametrize("tool", ["podman", "buildah", "skopeo", "umoci", "containerd"])
def test_the_page_has_the_makers(tool: str) -> None:
    told = re.search(rf"\b{tool} \(([\d., ]+)\)", PAGE.read_text("utf-8").replace("\n", " "))
    assert told, tool
    shown = told[1].split(", ")
    there = [re.search(r"\d+(\.\d+)+", place.call(tool, "--version")) for place in places()]
    found = {match[0] for match in there if match}
    assert all(any(is_version(version, x) for x in shown) for version in found), found
    assert all(any(is_version(version, x) for version in found) for x in shown), found
