"""What people serve models with reads an export: vLLM's reader of config.json, and llama.cpp's own converter.

Neither is part of `make venv`. The first needs vLLM's Python files on the path, without a GPU or its libraries; it ran
with 0.33. The second needs a checkout of llama.cpp, or the copy in the source package of llama-cpp-python:
LLAMA_CPP=FOLDER; it ran with that of 0.3.36. Neither computes a token here.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from convert.hugging_face import CONFIGS, VOCAB, save_model
from safetensors.torch import load_file

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import plan_export, write_export
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.storage.files import write_atomic

LLAMA_CPP = os.environ.get("LLAMA_CPP")
LACKS = {
    "ministral": "SystemExit(1)",  # it says that it does not know the class
    "qwen3_moe-dense": "Can not map tensor 'model.layers.0.mlp.down_proj.weight'",
}
"""Name -> what the converter says of a model that it does not know: Ministral 8B, and Qwen3-MoE with dense layers."""
CONVERT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import convert_hf_to_gguf, conversion.base
find = convert_hf_to_gguf.get_model_class
def without_vocabulary(*given, **named):
    found = find(*given, **named)
    found.set_vocab = conversion.base.TextModel._set_vocab_none  # a tiny vocabulary has no tokenizer that it knows
    return found
convert_hf_to_gguf.get_model_class = without_vocabulary
folders = sys.argv[1:]
for folder in folders:
    sys.argv = ["convert", folder, "--outfile", f"{folder}/model.gguf", "--outtype", "f32"]
    try:
        convert_hf_to_gguf.main()
    except BaseException as error:
        open(f"{folder}/error.txt", "w").write(repr(error))
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Model]]:
    """Name -> an export, through Megatron's checkpoint, and its model."""
    folder, found = tmp_path_factory.mktemp("exports"), {}
    for name in CONFIGS:
        imported = write_import(plan_import(save_model(folder / name / "source", name)), folder / name / "imported")
        planned = plan_export(open_checkpoint(imported.folder / "release"), vocab=VOCAB, family=imported.model.family)
        config = json.dumps(config_of(planned.model, dtype="float32", bos=1, eos=2))
        write_export(
            planned, folder / name / "out", around=lambda at, text=config: write_atomic(at / "config.json", text)
        )
        found[name] = (folder / name / "out", planned.model)
    return found


@pytest.fixture(scope="module")
def vllm() -> tuple[Any, Any]:
    """vLLM's reader of config.json, and what makes sizes of it; before any export is made."""
    pytest.importorskip("vllm.config", reason="vLLM's files are not on the path")
    reader = importlib.import_module("vllm.transformers_utils.config")
    return reader, importlib.import_module("vllm.transformers_utils.model_arch_config_convertor")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "kimi_k2"])
def test_vllm_reads_the_sizes_of_an_export(
    name: str, vllm: tuple[Any, Any], exports: dict[str, tuple[Path, Model]]
) -> None:
    """Kimi K2 is left out, since vLLM asks transformers for its class, which has none of that name."""
    read, sizes = vllm
    folder, model = exports[name]
    config = read.get_config(str(folder), trust_remote_code=False)
    convertor = sizes.MODEL_ARCH_CONFIG_CONVERTORS.get(config.model_type, sizes.ModelArchConfigConvertorBase)
    found = convertor(config, config.get_text_config()).convert()
    latent = model.latent
    width = latent.keys + latent.turned if latent else model.head_dim  # of the cache that it keeps
    assert found.architectures == [FAMILIES[model.family].architecture]
    assert found.is_deepseek_mla == bool(latent)
    assert (found.hidden_size, found.total_num_hidden_layers, found.vocab_size) == (model.hidden, model.layers, VOCAB)
    assert (found.total_num_attention_heads, found.head_size) == (model.heads, width)
    assert found.total_num_kv_heads == model.groups
    assert found.num_experts == model.experts
    assert found.quantization_config is None
    assert found.derived_max_model_len_and_key[0] >= model.positions


@pytest.fixture(scope="module")
def llama_cpp() -> str:
    """The folder of llama.cpp's converter; before any export is made."""
    if LLAMA_CPP is None:
        pytest.skip("LLAMA_CPP names no folder with llama.cpp's convert_hf_to_gguf.py")
    pytest.importorskip("gguf", reason="gguf, the package of llama.cpp's converter, is not installed")
    return LLAMA_CPP


@pytest.fixture(scope="module")
def converted(llama_cpp: str, exports: dict[str, tuple[Path, Model]]) -> None:
    """llama.cpp's file in each export, or what it says instead."""
    folders = [str(folder) for folder, _ in exports.values()]
    subprocess.run([sys.executable, "-c", CONVERT, llama_cpp, *folders], check=True, capture_output=True)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.usefixtures("converted")
def test_llama_cpp_converts_every_value_of_an_export(name: str, exports: dict[str, tuple[Path, Model]]) -> None:
    folder, model = exports[name]
    error = folder / "error.txt"
    if name in LACKS:
        assert LACKS[name] in error.read_text()
        return
    assert not error.exists(), error.read_text()
    read = importlib.import_module("gguf").GGUFReader(folder / "model.gguf")
    fields = {key: field.contents() for key, field in read.fields.items()}
    kind = fields["general.architecture"]
    assert fields[f"{kind}.embedding_length"] == model.hidden
    assert fields[f"{kind}.block_count"] == model.layers + model.predictions
    assert fields[f"{kind}.context_length"] == (2**20 if model.pattern else model.positions)  # it counts no positions
    assert fields[f"{kind}.attention.head_count"] == model.heads
    # It turns, splits and stacks matrices, and has no logarithm of a decay. All values are there, and no other.
    theirs = [np.asarray(each.data).reshape(-1) for each in read.tensors if not each.name.startswith("rope_")]
    weights = load_file(folder / "model.safetensors")
    for key in weights:
        if key.endswith("A_log"):
            weights[key] = -torch.exp(weights[key])
    ours = torch.cat([value.reshape(-1).float() for value in weights.values()]).numpy()
    assert np.array_equal(np.sort(np.concatenate(theirs)), np.sort(ours))
