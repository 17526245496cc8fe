"""Megatron-Bridge as it is installed imports a model as Megatron-LRPS does, with Transformer Engine's layers."""

import importlib.util
from pathlib import Path

import pytest
import torch
from convert.hugging_face import save_model

from megatron_lrps.convert.checked_import import import_from_hugging_face
from megatron_lrps.convert.torch_dist import open_checkpoint
from tests.conftest import Lrps

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen3_moe"])
def test_an_import_through_bridge_is_that_of_megatron_lrps(name: str, tmp_path: Path, lrps: Lrps) -> None:
    if importlib.util.find_spec("megatron.bridge") is None:
        pytest.skip("needs Megatron-Bridge installed")
    source = save_model(tmp_path / "source", name, dtype=torch.bfloat16)
    code, said, err = lrps("import", source, "--output", tmp_path / "bridge", "--engine", "bridge")
    assert code == 0, err
    assert "Logits differ by at most" in said
    own = import_from_hugging_face(source, tmp_path / "lrps", plan=None, check=False, say=print)
    for line in own.lines[:-1]:
        assert line in said
    one, other = (open_checkpoint(tmp_path / each / "release") for each in ("bridge", "lrps"))
    assert one.tensors.keys() >= other.tensors.keys()
    for key, stored in other.tensors.items():
        assert (one.tensors[key].shape, one.tensors[key].dtype) == (stored.shape, stored.dtype), key
