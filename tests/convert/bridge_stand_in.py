"""A stand-in for Megatron-Bridge's conversion, which needs Transformer Engine: a Llama, with Bridge's signatures.

``test_bridge_signatures.py`` compares them with Bridge's source. The model is Megatron-Core's own, on the CPU.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from megatron.core.transformer import TransformerConfig
from safetensors.torch import load_file
from torch import Tensor
from torch._C._distributed_c10d import HashStore

VERSION = "0.6.2"
_MODULES = {
    "package_info": f'from megatron_lrps.training import cpu\ncpu.install()\n__version__ = "{VERSION}"\n',
    "models.__init__": "",
    "models.gpt_provider": "from tests.convert.bridge_stand_in import GPTModelProvider\n",
    "models.conversion.auto_bridge": "from tests.convert.bridge_stand_in import AutoBridge\n",
    "training.model_load_save": (
        "from tests.convert.bridge_stand_in import load_model_config, temporary_distributed_context\n"
    ),
}


def install(folder: Path, version: str = VERSION) -> str:
    """Write a package ``megatron.bridge`` that is this stand-in; return the PYTHONPATH by which processes find it."""
    for name, text in _MODULES.items():
        file = folder / "megatron" / "bridge" / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace(VERSION, version))
    return f"{folder}:{Path(__file__).parents[2]}"


@dataclass
class GPTModelProvider(TransformerConfig):  # type: ignore[misc]
    share_embeddings_and_output_weights: bool = True
    position_embedding_type: str = "learned_absolute"
    rotary_base: int = 10000
    rotary_percent: float = 1.0
    rope_scaling: bool = False
    rope_scaling_factor: float = 1.0
    seq_len_interpolation_factor: float | None = None
    transformer_layer_spec: Any = get_gpt_layer_local_spec
    seq_length: int = 1024
    vocab_size: int | None = None
    hf_model_id: str | None = None

    def finalize(self) -> None: ...

    def provide(self, pre_process: Any = None, post_process: Any = None, vp_stage: Any = None) -> Any:
        return GPTModel(
            self,
            transformer_layer_spec=self.transformer_layer_spec(normalization=self.normalization),
            vocab_size=self.vocab_size,
            max_sequence_length=self.seq_length,
            share_embeddings_and_output_weights=self.share_embeddings_and_output_weights,
            position_embedding_type=self.position_embedding_type,
            rotary_base=self.rotary_base,
            rope_scaling=self.rope_scaling,
            rope_scaling_factor=self.rope_scaling_factor,
        )

    def provide_distributed_model(
        self, ddp_config: Any = None, wrap_with_ddp: bool = True, use_cpu_initialization: bool | None = False
    ) -> list[Any]:
        assert not wrap_with_ddp
        assert use_cpu_initialization
        self.use_cpu_initialization = True
        return [self.provide()]


for _each in (GPTModelProvider, GPTModelProvider.provide):
    _each.__module__ = "megatron.bridge.models.gpt_provider"


class HFWeightTuple(NamedTuple):
    param_name: str
    weight: Tensor


class AutoBridge:
    def __init__(self, hf_pretrained: Any) -> None:
        self.config = hf_pretrained

    @classmethod
    def from_hf_config(cls, config: Any) -> "AutoBridge":
        if config.architectures != ["LlamaForCausalLM"]:
            raise ValueError(f"Model architecture '{config.architectures}' is not yet supported")
        return cls(config)

    @classmethod
    def from_hf_pretrained(cls, path: str | Path, **kwargs: Any) -> "AutoBridge":
        return cls.from_hf_config(transformers.AutoConfig.from_pretrained(path, **kwargs))

    def to_megatron_provider(self, load_weights: bool = True, hf_path: str | Path | None = None) -> GPTModelProvider:
        assert not load_weights
        config = self.config
        rope = config.rope_parameters
        return GPTModelProvider(
            num_layers=config.num_hidden_layers, hidden_size=config.hidden_size, kv_channels=config.head_dim,
            ffn_hidden_size=config.intermediate_size, num_attention_heads=config.num_attention_heads,
            num_query_groups=config.num_key_value_heads, layernorm_epsilon=config.rms_norm_eps,
            share_embeddings_and_output_weights=config.tie_word_embeddings, vocab_size=config.vocab_size,
            seq_length=config.max_position_embeddings, rotary_base=rope["rope_theta"], normalization="RMSNorm",
            rope_scaling=rope["rope_type"] == "llama3", rope_scaling_factor=rope.get("factor", 8.0),
            position_embedding_type="rope", gated_linear_unit=True, activation_func=torch.nn.functional.silu,
            add_bias_linear=False, add_qkv_bias=config.attention_bias, hidden_dropout=0.0, attention_dropout=0.0,
            persist_layer_norm=False, gradient_accumulation_fusion=False, masked_softmax_fusion=False,
        )  # fmt: skip

    def load_hf_weights(
        self, model: list[Any], hf_path: str | Path | None = None, allowed_mismatched_params: list[str] | None = None
    ) -> list[Any]:
        weights = load_file(Path(self.config.name_or_path) / "model.safetensors")
        for name, part in self._parts(model[0]):
            if name in weights:  # Bridge passes over what it does not find
                part.copy_(weights[name].view(part.shape))
        return model

    def export_hf_weights(
        self,
        model: list[Any],
        cpu: bool = False,
        show_progress: bool = True,
        conversion_tasks: Any = None,
        merge_adapter_weights: bool = True,
        weight_dtype: torch.dtype | None = None,
    ) -> Iterable[HFWeightTuple]:
        for name, part in self._parts(model[0]):
            rows = part.flatten(0, -2) if part.ndim > 2 else part
            yield HFWeightTuple(name, rows)

    def _parts(self, model: Any) -> Iterator[tuple[str, Tensor]]:
        """Each weight's name, and its values in Megatron's parameters."""
        config = self.config
        found = {name: value.detach() for name, value in model.named_parameters()}
        yield "model.embed_tokens.weight", found["embedding.word_embeddings.weight"]
        for number in range(config.num_hidden_layers):
            there, here = f"decoder.layers.{number}", f"model.layers.{number}"
            for name, ours in (
                ("input_layernorm", "input_layernorm"),
                ("pre_mlp_layernorm", "post_attention_layernorm"),
                ("self_attention.linear_proj", "self_attn.o_proj"),
                ("mlp.linear_fc2", "mlp.down_proj"),
            ):
                yield f"{here}.{ours}.weight", found[f"{there}.{name}.weight"]
            gate_up = found[f"{there}.mlp.linear_fc1.weight"].chunk(2)
            for name, value in zip(("gate", "up"), gate_up, strict=True):
                yield f"{here}.mlp.{name}_proj.weight", value
            qkv = found[f"{there}.self_attention.linear_qkv.weight"]
            grouped = qkv.view(config.num_key_value_heads, -1, config.head_dim, config.hidden_size)
            parts = grouped[:, :-2], grouped[:, -2], grouped[:, -1]
            for name, value in zip("qkv", parts, strict=True):
                yield f"{here}.self_attn.{name}_proj.weight", value
        yield "model.norm.weight", found["decoder.final_layernorm.weight"]
        if not config.tie_word_embeddings:
            yield "lm_head.weight", found["output_layer.weight"]


# megatron.bridge.training.model_load_save


def load_model_config(checkpoint_path: str) -> tuple[GPTModelProvider, None]:
    config = json.loads((Path(checkpoint_path) / "run_config.yaml").read_text())
    return AutoBridge(transformers.LlamaConfig(**config)).to_megatron_provider(load_weights=False), None


@contextlib.contextmanager
def temporary_distributed_context(backend: str = "gloo") -> Iterator[None]:
    torch.distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    model_parallel_cuda_manual_seed(0)
    try:
        yield
    finally:
        parallel_state.destroy_model_parallel()
        torch.distributed.destroy_process_group()
