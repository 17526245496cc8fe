"""The stand-in has the signatures of Megatron-Bridge's source, in each release whose wheel is at hand."""

import ast
from pathlib import Path

import pytest

from tests.bridge.wheels import WHEELS, unpacked

STAND_IN = [Path(__file__).with_name(name) for name in ("stand_in.py", "stand_in_config.py")]
COMPARED = {
    "training/checkpointing.py": (
        *("DefaultCheckpointManager.save", "DefaultCheckpointManager.load", "DefaultCheckpointManager.__init__"),
        *("DefaultCheckpointManager.finalize_async_saves", "create_checkpoint_manager"),
        *("CheckpointSaveContext", "CheckpointLoadContext"),
    ),
    "training/callbacks.py": ("CallbackContext", "normalize_callbacks"),
    "training/state.py": ("TrainState",),
    "training/utils/sig_utils.py": ("all_gather_item", "DistributedSignalHandler.signals_received"),
    "training/pretrain.py": ("pretrain",),
    "training/optim.py": ("_get_scheduler",),
}
"""File below ``megatron/bridge`` -> functions by their parameters, and classes by their fields."""
_ADDED = {"callback_manager", "pg_collection", "module_name"}
"""What releases from 0.5 on have added at the end, as the stand-in has it."""


def names(files: list[Path], wanted: str) -> list[str]:
    """The parameters of a function, or the annotated fields of a class, in their order."""
    nodes: list[ast.stmt] = [node for file in files for node in ast.parse(file.read_text()).body]
    found: ast.stmt | None = None
    for part in wanted.split("."):
        found = next(node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part)
        nodes = found.body if isinstance(found, ast.ClassDef) else []
    if isinstance(found, ast.FunctionDef):
        return [argument.arg for argument in found.args.args]
    return [node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]


@pytest.mark.parametrize("version", ["0.4.2", "0.5.0", "0.6.2"])
@pytest.mark.parametrize(("file", "wanted"), [(file, each) for file, all_ in COMPARED.items() for each in all_])
def test_signature(version: str, file: str, wanted: str) -> None:
    if version not in (found := unpacked()):
        pytest.skip(
            f"needs megatron-bridge {version}: run `make releases`, or name a folder with its wheel in {WHEELS}"
        )
    there = names([found[version] / "megatron/bridge" / file], wanted)
    here = names(STAND_IN, wanted)
    if version.startswith("0.4"):
        here = [name for name in here if name not in _ADDED]
    assert here == there
