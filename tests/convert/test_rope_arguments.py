"""What Megatron's flags can say of YaRN: with multi-latent attention, less than its own configuration can."""

import json
import os
import subprocess
import sys

from megatron_lrps.convert.architecture import LATENT_YARN
from megatron_lrps.convert.helper_process import ON_CPU

BUILT = """
import json, os, sys
from megatron_lrps.training import cpu
cpu.install()
import torch
from megatron.training.arguments import core_transformer_config_from_args, parse_args
found = {}
for flag in ("--yarn-beta-fast", "--yarn-beta-slow", "--yarn-original-max-position-embeddings"):
    for kind in ("rope", "yarn"):
        sizes = "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --multi-latent-attention"
        sys.argv = ["x", *sizes.split(), "--position-embedding-type", kind, flag, "2"]
        args = parse_args()
        args.params_dtype = args.pipeline_dtype = torch.float32
        args.kv_channels, args.ffn_hidden_size, args.persist_layer_norm = 16, 96, False
        config = core_transformer_config_from_args(args)
        found[f"{flag} {kind}"] = [config.original_max_position_embeddings, config.beta_fast, config.beta_slow]
json.dump(found, sys.stdout)
"""


def test_megatrons_yarn_flags_do_not_reach_multi_latent_attention() -> None:
    """A release in which they do can import Kimi K2 (``beta_fast`` 1.0), and this test then says so."""
    done = subprocess.run(
        [sys.executable, "-c", BUILT], capture_output=True, text=True, check=True, env={**os.environ, **ON_CPU}
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 6
    assert all(each == [LATENT_YARN.original, LATENT_YARN.fast, LATENT_YARN.slow] for each in found.values()), found
