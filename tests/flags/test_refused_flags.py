"""Entries of `megatron:` that ended in Megatron's usage text, an assertion or a traceback: `lrps plan` says why not."""

from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import EXIT_REFUSED
from tests.flags.trial import refused_by_plan, write_trial

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"log-straggler": True}, "needs a GPU"),
    ({"log-max-attention-logit": True}, "needs a GPU"),
    ({"context-parallel-size": 2}, "needs a GPU"),
    ({"record-memory-history": True}, "needs a GPU"),
    ({"enable-cuda-graph": True}, "there are no CUDA graphs on a CPU"),
    ({"cuda-graph-impl": "local"}, "there are no CUDA graphs on a CPU"),
    ({"external-cuda-graph": True}, "there are no CUDA graphs on a CPU"),
    ({"use-megatron-fsdp": True}, "needs a GPU"),
    ({"optimizer-cpu-offload": True}, "without use-precision-aware-optimizer"),
    ({"use-precision-aware-optimizer": True}, "Transformer Engine's Adam alone"),
    ({"no-initialization": True}, "the paths start from scratch"),
    ({"defer-embedding-wgrad-compute": True}, "without pipeline stages"),
    ({"num-attention-heads": 5}, "hidden-size: 64 is not a multiple of num-attention-heads 5"),
    ({"hidden-size": 65}, "hidden-size: 65 is not a multiple of num-attention-heads 4"),
    ({"micro-batch-size": 3}, "global_batch_size: 4 is not a multiple of micro-batch-size 3"),
    ({"eval-interval": 0}, "eval-interval: 0 is not a number of iterations"),
    ({"save-interval": 0}, "save-interval: 0 is out of range"),
    ({"log-interval": 0}, "log-interval: 0 is out of range"),
    ({"tensorboard-log-interval": 0}, "tensorboard-log-interval: 0 is out of range"),
    ({"num-layerz": 2}, "did you mean num-layers?"),
    ({"normalization": "rms"}, "is not one of LayerNorm, RMSNorm"),
    ({"skip-train": True}, "it trains nothing"),
    ({"adlr-autoresume": True}, "scripts of NVIDIA's own cluster"),
    ({"mtp-num-layers": 1}, "with positions of the kind learned_absolute"),
    ({"optimizer": "sgd"}, "megatron-core 0.19 saves SGD's state, but fails when it loads it"),
    ({"optimizer": "adaptive_muon"}, "ends at its first step"),
    ({"optimizer": "soap"}, "which megatron-core fails to save"),
    ({"non-persistent-ckpt-type": "global"}, "does not look at checkpoints that are not kept"),
    ({"spec": ["no_such_package.layers", "spec"]}, "there is no module no_such_package here"),
    ({"moe-router-force-load-balancing": True}, "its experts are drawn at random"),
    ({"moe-use-upcycling": True}, "it makes experts of a dense checkpoint"),
    ({"dataloader-fast-cache-load": True}, "each path of a plan builds its own"),
    ({"lazy-mpu-init": True}, "another script"),
    ({"init-method-xavier-uniform": True}, "builds no model with it"),
    ({"overlap-param-gather-with-optimizer-step": True}, "no distributed checkpoint"),
    ({"checkpoint-activations": True}, "recompute-granularity now"),
    ({"gpu-sniff-test-interval": 1}, "it tests GPUs"),
    ({"save-dgrads-interval": 1}, "it looks for Transformer Engine's modules"),
    ({"fp32-residual-connection": True}, "Transformer Engine's modules alone have it"),
    ({"overlap-moe-expert-parallel-comm": True}, "it overlaps streams of CUDA"),
    ({"yarn-beta-fast": 1, "multi-latent-attention": True}, "Megatron gives multi-latent attention 32"),
    ({"lion-beta1": 0.9, "optimizer": "lion"}, "Megatron gives --optimizer lion the betas of Adam"),
    ({"encoder-seq-length": 16}, "the plan's sequence_length decides it"),
    ({"openai-gelu": True}, "nothing in megatron-core reads it"),
    ({"qk-l2-norm": True}, "Megatron's local layers, as on a CPU, have none"),
]


@pytest.mark.parametrize(("flags", "says"), REFUSED, ids=[next(iter(flags)) for flags, _ in REFUSED])
def test_an_entry_is_refused_by_name_before_any_rank_starts(tmp_path: Path, flags: dict[str, Any], says: str) -> None:
    refusal = refused_by_plan(write_trial(tmp_path / "trial", flags, 1))
    assert refusal is not None
    assert refusal.exit_code == EXIT_REFUSED
    assert next(iter(flags)) in str(refusal)
    assert says in str(refusal)
    assert refusal.fix
