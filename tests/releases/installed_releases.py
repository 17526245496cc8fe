"""The releases of Megatron on this machine: wheels that ``make releases`` has unpacked, and source checkouts.

As a program it unpacks the wheels: ``python -m tests.releases.installed_releases``.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("LRPS_RELEASES") or ROOT / ".venv" / "releases")
"""What ``make releases`` fills: a folder for each wheel, named as its version."""
WHEELS = ("0.17.1", "0.18.2")
"""The wheels that ``make releases`` gets; that of 0.19 is in .venv itself, and 0.16 has no ``megatron.training``."""
BRIDGE_WHEELS = ("0.4.2", "0.5.0", "0.6.2")
"""Of Megatron-Bridge, whose own loop ``tests/bridge`` runs."""
CHECKOUTS = "LRPS_CHECKOUTS"
"""The environment variable with checkouts of Megatron-LM, separated as in PATH; their helpers must be compiled."""


class Place(NamedTuple):
    """A release of Megatron in a folder.

    Attributes:
        version: The release's version.
        kind: ``wheel`` or ``checkout``.
        folder: What is put in front of ``sys.path``; None for the one that is installed anyway.
    """

    version: str
    kind: str
    folder: Path | None

    @property
    def series(self) -> tuple[int, ...]:
        """The first two numbers of its version."""
        return tuple(map(int, self.version.split(".")[:2]))

    def __str__(self) -> str:
        return f"{self.version} {self.kind}"


INSTALLED = Place("0.19.2", "wheel", None)
"""The release that is installed beside the plugin."""


def places() -> list[Place]:
    """Return the wheels that should be there, and the checkouts that are named."""
    checkouts = [Path(each) for each in os.environ.get(CHECKOUTS, "").split(os.pathsep) if each]
    return [
        *(Place(version, "wheel", FOLDER / version) for version in WHEELS),
        *(Place(_version_of(each), "checkout", each) for each in checkouts),
    ]


def unpack_wheels() -> None:
    """Unpack the wheels that are not there yet, without what they depend on: .venv has it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = {version: f"megatron-core=={version}" for version in WHEELS}
    wanted |= {f"bridge-{version}": f"megatron-bridge=={version}" for version in BRIDGE_WHEELS}
    for name, requirement in wanted.items():
        if not (FOLDER / name / "megatron").is_dir():
            with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target"]
                subprocess.run([*command, f"{folder}/{name}", requirement], check=True)
                Path(folder, name).rename(FOLDER / name)


def _version_of(checkout: Path) -> str:
    text = (checkout / "megatron/core/package_info.py").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^(?:MAJOR|MINOR|PATCH) = (\d+)", text, re.MULTILINE))


if __name__ == "__main__":
    unpack_wheels()
