"""``--rope-scaling-factor`` reaches the model of lrps' own entry; a script that drops it is refused."""

import json
from pathlib import Path

import pytest
from training.campaigns import run_ranks
from training.harness import TINY, train
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

pytestmark = pytest.mark.training

FLAGS = (
    "--position-embedding-type rope --rotary-base 500000 --use-rope-scaling --rope-scaling-factor 32"
    " --mock-data --train-iters 1"
)
SHOWN = """
from megatron_lrps.training import cpu; cpu.install()
from megatron_lrps.training.megatron import gpt
from megatron.core.utils import get_attr_wrapped_model
from megatron.training import get_args, training
set_up = training.setup_model_and_optimizer
def shown(*args, **kwargs):
    made = set_up(*args, **kwargs)
    print("FREQUENCIES", get_attr_wrapped_model(made[0][0], "rotary_pos_emb").inv_freq.tolist())
    print("APPLIED", get_args().applied_rope_scaling_factor)
    return made
training.setup_model_and_optimizer = shown
gpt.main()
"""
DROPS = """
from megatron_lrps import register; register(cpu=True)
from megatron_lrps.training.megatron import gpt, gpt_0_19
gpt_0_19._config = gpt_0_19.gpt_config_from_args  # as Megatron-LM's own script builds its model
gpt.applied_rope_factor = lambda args: 8.0
gpt.main()
"""


def test_the_frequencies_are_those_of_llama_3_2(tmp_path: Path) -> None:
    log = train(tmp_path, FLAGS, base=TINY, code=SHOWN).logs[0]
    line = next(line for line in log.splitlines() if line.startswith("FREQUENCIES"))
    found = json.loads(line.removeprefix("FREQUENCIES"))
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig(
        head_dim=2 * len(found),
        max_position_embeddings=2**17,
        rope_parameters={**rope, "original_max_position_embeddings": 8192},
    )
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")
    assert found == pytest.approx(expected.tolist(), rel=1e-6)
    assert "APPLIED 32.0" in log


def test_a_script_that_drops_the_factor_is_refused(tmp_path: Path) -> None:
    flags = [*TINY.split(), *FLAGS.split(), "--lrps-cpu"]
    ended = run_ranks(flags, cwd=tmp_path, code=DROPS)
    assert ended.codes == [78], ended.log[-2000:]
    assert "--rope-scaling-factor is 32, but this script computes with 8" in ended.log
