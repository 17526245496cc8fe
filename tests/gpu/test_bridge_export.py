"""Megatron-Bridge as it is installed converts a checkpoint to the weights that it was made from, bit for bit."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from convert.hugging_face import VOCAB, save_model
from safetensors.torch import load_file

from megatron_lrps.convert.huggingface_import import plan_import, write_import
from tests.conftest import Lrps

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["llama-linear", "qwen3", "deepseek_v3"])
def test_an_export_through_bridge_is_bit_identical(name: str, tmp_path: Path, lrps: Lrps) -> None:
    if importlib.util.find_spec("megatron.bridge") is None:
        pytest.skip("needs Megatron-Bridge installed")
    source = save_model(tmp_path / "source", name, dtype=torch.bfloat16)
    saved = write_import(plan_import(source), tmp_path / "imported").folder
    command = ["export", "--checkpoint", saved, "--output", tmp_path / "out", "--vocab-size", str(VOCAB)]
    code, out, err = lrps(*command, "--engine", "bridge", "--reference", source, "--json")
    assert code == 0, err
    assert json.loads(out)["engine"] == "bridge"
    before, after = (load_file(tmp_path / each / "model.safetensors") for each in ("source", "out"))
    assert before.keys() - {"lm_head.weight"} == after.keys() - {"lm_head.weight"}
    assert all(torch.equal(before[key], after[key]) for key in before)
