"""A checkpoint that is made in a second, without training."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from convert.hugging_face import save_model

from megatron_lrps.convert.huggingface_import import plan_import, write_import


@pytest.fixture(scope="session")
def _imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    return write_import(plan_import(save_model(folder / "source", "llama")), folder / "imported").folder


@pytest.fixture
def saved(_imported: Path, tmp_path: Path) -> Path:
    """The folder of a llama checkpoint, to be damaged at will."""
    return Path(shutil.copytree(_imported / "release", tmp_path / "saved"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB; the export takes 622 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(place)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
