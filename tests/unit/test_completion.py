"""What a shell is told; tests/packaging asks the shells themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from squasher.cli import main


def completions(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Return what bash is told of the last of the words, as `type,value`."""
    monkeypatch.setenv("_SQUASH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit, match="0"):
        main.main()
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("squash --keep", ["plain,--keep-layers"]),
        ("squash --format ", ["plain,docker", "plain,oci"]),
        ("squash x.tar --history d", ["plain,drop"]),
        ("squash --compress z", ["plain,zstd"]),
        ("squash --created ", ["plain,source", "plain,now"]),
        ("squash ", ["file,"]),
        ("squash x", ["file,x"]),
        ("squash -f b", ["file,b"]),
        ("squash x.tar -o o", ["file,o"]),
        ("squash x.tar --report r", ["file,r"]),
        ("squash --tmp-dir t", ["file,t"]),
        ("squash in", ["plain,inspect", "plain,in.tar"]),
        ("squash d", ["plain,diff"]),
        ("squash diff d", ["file,d"]),
        ("squash diff a b", ["file,b"]),
        ("squash inspect --min", ["plain,--min-efficiency"]),
    ],
)
def test_completions(
    words: str,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.tar").touch()
    assert completions(words, monkeypatch, capsys) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_SQUASH_COMPLETE", f"{shell}_source")
    monkeypatch.setattr(sys, "argv", ["squash"])
    with pytest.raises(SystemExit, match="0"):
        main.main()
    assert f"_SQUASH_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_a_question_that_no_shell_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SQUASH_COMPLETE", "bash_complete")
    monkeypatch.delenv("COMP_WORDS", raising=False)
    for number in ("x", "1"):
        monkeypatch.setenv("COMP_CWORD", number)
        with pytest.raises(SystemExit, match="1"):
            main.main()
