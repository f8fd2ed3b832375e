"""What setup.cfg cannot say: the page on the package index, addresses made from the one there."""

from __future__ import annotations

import configparser
import re
import runpy
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
#: The beginning of a link or a picture, up to a target that names no host: `](docs/`, `](#use`.
_RELATIVE = re.compile(r"(?P<head>(?P<picture>!?)\[[^\]]*\]\()(?P<target>(?![a-z]+:)[^)\s]+)")


def absolute(text: str, url: str, tag: str) -> str:
    """Return the README with links that lead to the repository at `url`, as it is at `tag`.

    An index shows the page alone, so a relative link leads nowhere there, nor does one to a
    heading: indexes give those no names.
    """

    def lead(match: re.Match[str]) -> str:
        target = match["target"]
        path = f"README.md{target}" if target.startswith("#") else target
        return f"{match['head']}{url}/{'raw' if match['picture'] else 'blob'}/{tag}/{path}"

    return _RELATIVE.sub(lead, text)


def main() -> None:
    """Give setuptools what setup.cfg lacks."""
    config = configparser.ConfigParser()
    config.read(HERE / "setup.cfg", "utf-8")
    url = config["metadata"]["url"]
    tag = "v" + runpy.run_path(str(HERE / "squasher/_version.py"))["__version__"]
    setup(
        long_description=absolute((HERE / "README.md").read_text("utf-8"), url, tag),
        project_urls={
            "Documentation": f"{url}/blob/{tag}/docs/README.md",
            "Changelog": f"{url}/blob/{tag}/CHANGELOG.md",
            "Security": f"{url}/blob/{tag}/SECURITY.md",
        },
    )


if __name__ == "__main__":
    main()
