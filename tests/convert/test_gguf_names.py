"""llama.cpp's converter knows the name of every weight that an export has: those of its own package ``gguf``.

The package is no part of `make venv`. With `pip install gguf` these tests run; they have run with gguf 0.19.
"""

import re

import pytest
import transformers
from convert.hugging_face import CONFIGS

from megatron_lrps.convert.huggingface_config import model_of_config
from megatron_lrps.convert.mapping import weights_of

gguf = pytest.importorskip("gguf", reason="gguf, the package of llama.cpp's converter, is not installed")

OTHER_NAMES = {
    "mistral": "llama",
    "ministral": "llama",
    "mixtral": "llama",
    "gpt_oss": "gpt-oss",
    "glm4_moe": "glm4moe",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
}
OTHER_NAMES |= {"qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe"}
"""Family -> llama.cpp's name of its architecture, where that is another one."""
SPLIT = {"gate_up_proj", "gate_up_proj_bias", "down_proj_bias"}
"""Weights of gpt-oss's experts that the converter's own code splits and renames first."""


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "qwen3_moe-dense"])
def test_llama_cpp_has_a_name_for_every_weight(name: str) -> None:
    """Of Qwen3-MoE, llama.cpp has only models with experts in every layer."""
    kind, config = CONFIGS[name]
    model = model_of_config(getattr(transformers, f"{kind}Config")(**config).to_dict(), "config.json")
    wanted = OTHER_NAMES.get(model.family, model.family) + ("_moe" if model.pattern and model.experts else "")
    architecture = next(each for each, called in gguf.MODEL_ARCH_NAMES.items() if called == wanted)
    known = gguf.get_tensor_name_map(architecture, model.layers)
    for weight in weights_of(model):
        if weight.name.rpartition(".")[2] in SPLIT:
            continue
        # As the converter does: experts of a layer become one tensor, and a bias has its own ending.
        called = re.sub(r"experts\.\d+\.", "experts.", weight.name).replace("_correction_bias", "_correction.bias")
        called = called.replace(".dt_bias", ".dt_proj.bias")
        called = re.sub(r"backbone(\.layers\.\d+\.)mixer\.experts", r"model\1mlp.experts", called)
        assert known.get_name(called, try_suffixes=(".weight", ".bias")) is not None, weight.name
