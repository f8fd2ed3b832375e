"""Options of the whole suite."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

# A suite that runs under nohup, or behind a shell's &, has inherited signals that are ignored, and
# so would the commands that it starts; the tests want those to be as they are in a terminal.
for _number, _handler in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
# So has a suite that somebody runs who keeps files to themselves: tests look at modes of files.
os.umask(0o022)


@pytest.fixture(params=["with fast", "without fast"])
def gzip_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the libraries of the extra `fast`, or hide them; return how the report names what is."""
    if request.param == "without fast":
        for module in ("deflate", "zlib_ng"):
            monkeypatch.setitem(sys.modules, module, None)
        return "zlib"
    for module in ("deflate", "zlib_ng"):
        pytest.importorskip(module, reason="needs the extra `fast`")
    return "libdeflate"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the numbers of images for tests/conformance and of pairs, a folder for tests/browser."""
    parser.addoption(
        "--random-images",
        type=int,
        default=100,
        metavar="N",
        help="squash N random images at every base (default: 100)",
    )
    parser.addoption(
        "--pairs-per-case",
        type=int,
        default=3,
        metavar="N",
        help="have engines show each case of the corpus onto N others (default: 3)",
    )
    parser.addoption(
        "--turn",
        type=int,
        default=0,
        metavar="T",
        help="which others: each turn takes the next ones (default: 0)",
    )
    parser.addoption(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="leave what the browser drew in DIR (default: nowhere)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for an `image_seed` as many as the option says."""
    if "image_seed" in metafunc.fixturenames:
        metafunc.parametrize("image_seed", range(metafunc.config.getoption("--random-images")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each file's tests to one process, and to one those that share engines or packages."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    from tests.engines.engines import folders

    shared = len(folders()) < len(config.getoption("tx"))

    class ByWhatIsShared(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            folder = path.split("/")[1]
            if folder in ("engines", "docs") and shared:
                return "engines"
            return folder if folder == "packaging" else path

    return ByWhatIsShared(config, log)
