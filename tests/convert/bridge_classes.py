"""Megatron-Bridge's own classes of an unpacked wheel, in the process that converts: bridges, mappings and providers.

Stand-ins take the place of what they only import here: Transformer Engine, and packages of other models.
The layers are Megatron-Core's own without Transformer Engine, on the CPU; what reads, describes and loads is Bridge's.
"""

import importlib
import sys
import types
from pathlib import Path
from typing import Any

from tests.bridge.wheels import Finder

_BRIDGE = "megatron.bridge"
_STOOD_IN = (
    *(
        "comet_ml",
        "datasets",
        "diffusers",
        "mlflow",
        "modelopt",
        "nvdlfw_inspect",
        "nvidia_resiliency_ext",
        "omegaconf",
    ),
    *("open_clip", "peft", "qwen_vl_utils", "timm", "transformer_engine", "transformer_engine_torch", "wandb"),
    *(
        f"{_BRIDGE}.{name}"
        for name in (
            *("data.builders", "data.datasets", "data.hf_processors", "data.megatron_mimo", "data.sources"),
            *("diffusion", "peft", "recipes", "training.post_training", "training.tokenizers.tokenizer"),
        )
    ),
)
_FAMILIES = ("llama.llama_bridge", "qwen.qwen3_bridge", "nemotron.nemotron_bridge", "gemma.gemma2_bridge")
_FUSIONS = (
    *("apply_rope_fusion", "gradient_accumulation_fusion", "masked_softmax_fusion", "persist_layer_norm"),
    *("moe_permute_fusion", "moe_grouped_gemm", "moe_router_fusion"),
)


def install(folder: Path, wheel: Path) -> str:
    """Return the PYTHONPATH with which ``bridge_worker`` finds the classes of an unpacked wheel."""
    root = Path(__file__).parents[2]
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'megatron_lrps.convert.bridge_worker' in sys.orig_argv:\n"
        "    from tests.convert.bridge_classes import use\n"
        f"    use({str(wheel)!r})\n"
    )
    return f"{folder}:{root}"


class _Models(types.ModuleType):
    """``megatron.bridge.models`` without its ``__init__``, which would import every family."""

    def __getattr__(self, name: str) -> Any:
        if name == "GPTModelProvider":
            return importlib.import_module(f"{_BRIDGE}.models.gpt_provider").GPTModelProvider
        if name.startswith("__") or not name[:1].isupper():
            raise AttributeError(name)
        made = type(name, (), {"__init__": lambda self, *args, **kwargs: None})
        setattr(self, name, made)
        return made


def use(wheel: str) -> None:
    """Make this process's ``megatron.bridge`` that of a wheel."""
    from megatron_lrps.training import cpu

    cpu.install()
    import megatron
    import megatron.core.utils as utils
    from packaging.version import Version

    utils._te_version = Version("2.9.0")  # its absence is no answer that Bridge's imports expect
    sys.meta_path.insert(0, Finder(_STOOD_IN))
    families = {each.partition(".")[0] for each in _FAMILIES}
    for name in ("", "training", "utils", "data", "models", "models.conversion", "models.hf_pretrained", *families):
        place = f"models.{name}" if name in families else name
        module = types.ModuleType(f"{_BRIDGE}.{place}".rstrip("."))
        module.__path__ = [str(Path(wheel, "megatron", "bridge", *place.split(".")))]
        sys.modules[module.__name__] = module
    sys.modules[f"{_BRIDGE}.models"].__class__ = _Models
    megatron.bridge = sys.modules[_BRIDGE]  # type: ignore[attr-defined]
    auto = importlib.import_module(f"{_BRIDGE}.models.conversion.auto_bridge").AutoBridge
    for each in _FAMILIES:
        importlib.import_module(f"{_BRIDGE}.models.{each}")
    providers = importlib.import_module(f"{_BRIDGE}.models.gpt_provider")
    providers.transformer_engine_layer_spec = providers.local_layer_spec
    makes = auto.to_megatron_provider

    def without_fusions(self: Any, load_weights: bool = True, hf_path: Any = None) -> Any:
        made = makes(self, load_weights=load_weights, hf_path=hf_path)
        for fusion in _FUSIONS:
            setattr(made, fusion, False)
        return made

    auto.to_megatron_provider = without_fusions
