"""What to do when the library of an extra is missing."""

from __future__ import annotations

import zipimport
from pathlib import Path
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
    loader = zipimport.zipimporter(str(tmp_path / "x.pyz"))
    monkeypatch.setattr(extras, "__loader__", loader)
    hint = extras.hint(extra)
    assert hint.startswith("this single file carries no compiled code: ")
    assert ("Python 3.14" in hint) is newer
    assert hint.endswith(f"pip install 'image-squasher[{extra}]'")
