"""MXFP4 is read as transformers unpacks it, bit for bit, and an import of it holds those numbers."""

import json
from pathlib import Path

import pytest
import torch
from convert.hugging_face import VOCAB, save_model
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from megatron_lrps.convert.huggingface_export import plan_export, read_weight
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.convert.logits_check import compare_logits
from megatron_lrps.convert.mapping import weights_of
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.probe import probe_of
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.errors import RefusedError

PARTS = ("gate_up_proj", "down_proj")


def packed_folder(folder: Path) -> Path:
    """A tiny gpt-oss whose experts are packed, as OpenAI published it."""
    source = save_model(folder, "gpt_oss", dtype=torch.bfloat16)
    weights = load_file(source / "model.safetensors")
    drawn = torch.Generator().manual_seed(1)
    for name in [name for name in weights if name.endswith(PARTS)]:
        experts, inner, outer = weights.pop(name).shape
        shape = (experts, outer, inner // 32, 16)
        weights[f"{name}_blocks"] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)
        weights[f"{name}_scales"] = torch.randint(118, 124, shape[:-1], dtype=torch.uint8, generator=drawn)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (source / "config.json").write_text(json.dumps(config))
    return source


def test_every_number_is_what_transformers_unpacks(tmp_path: Path) -> None:
    source = packed_folder(tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    planned = plan_import(source)
    checkpoint = open_checkpoint(write_import(planned, tmp_path / "imported").folder / "release")
    assert plan_export(checkpoint, vocab=VOCAB).model == planned.model
    found = {weight.name: weight for weight in weights_of(planned.model)}
    for layer in (0, 3):
        for part in PARTS:
            name = f"model.layers.{layer}.mlp.experts.{part}"
            blocks, scales = weights[f"{name}_blocks"], weights[f"{name}_scales"]
            expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
            read = torch.stack(list(read_weight(checkpoint, found[name])))
            assert read.dtype == torch.bfloat16
            assert torch.equal(read, expected)


@pytest.mark.soak
def test_the_check_of_an_import_compares_with_what_transformers_computes(tmp_path: Path) -> None:
    source = packed_folder(tmp_path / "source")
    planned = plan_import(source)
    imported = write_import(planned, tmp_path / "imported").folder / "release"
    probe = probe_of(args_of(planned.model), vocab=VOCAB, elements=1)
    assert compare_logits(imported, source, probe, dtype=None).difference < 1e-5


def test_half_a_pair_and_another_quantization_are_refused(tmp_path: Path) -> None:
    source = packed_folder(tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    name = "model.layers.1.mlp.experts.down_proj_scales"
    save_file({**weights, name: weights[name][:, :-1].contiguous()}, source / "model.safetensors")
    with pytest.raises(RefusedError, match=r"down_proj_blocks is packed as MXFP4, but there are no .* fit each other"):
        plan_import(source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(RefusedError, match=r"quantization_config .* cannot be imported; null or one of mxfp4 can"):
        plan_import(source)
