"""What to do when the library of an extra is missing."""

from __future__ import annotations

import zipimport
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from squasher import extras


def test_installed_by_pip() -> None:
    assert extras.hint("docker") == "pip install 'image-squasher[docker]'"


@pytest.mark.parametrize(("extra", "newer"), [("zstd", True), ("html", False)])
def test_in_one_file(
    extra: str, newer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ZipFile(tmp_path / "x.pyz", "w") as archive:
        archive.writestr("__main__.py", "")
    loader: Any = zipimport.zipimporter(str(tmp_path / "x.pyz"))  # mypy: no Loader
    monkeypatch.setattr(extras, "__spec__", ModuleSpec("squasher.extras", loader))
    hint = extras.hint(extra)
    assert hint.startswith("this single file carries no compiled code: ")
    assert ("Python 3.14" in hint) is newer
    assert hint.endswith(f"pip install 'image-squasher[{extra}]'")
