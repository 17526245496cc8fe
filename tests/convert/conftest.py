"""A checkpoint that is made in a second, without training."""

import shutil
from pathlib import Path

import pytest
from convert.hugging_face import save_model

from megatron_lrps.convert.imports import plan_import, write_import


@pytest.fixture(scope="session")
def _imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    return write_import(plan_import(save_model(folder / "source", "llama")), folder / "imported").folder


@pytest.fixture
def saved(_imported: Path, tmp_path: Path) -> Path:
    """The folder of a llama checkpoint, to be damaged at will."""
    return Path(shutil.copytree(_imported / "release", tmp_path / "saved"))
