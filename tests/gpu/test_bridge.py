"""Megatron-Bridge as it is installed trains a campaign on one GPU: main, and a branch that is stopped and resumed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.plan.flags import lr_range
from tests.gpu.campaigns import DETERMINISTIC, one_rank
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.gpu

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from megatron.bridge.models import GPTModelProvider
from megatron.bridge.training import config as bridge
from megatron.bridge.training.gpt_step import forward_step
from megatron.bridge.training.pretrain import pretrain
from megatron_lrps.bridge import follow

class Rates:
    def on_train_step_start(self, context):
        with Path(f"rates-{sys.argv[2]}.jsonl").open("a") as file:
            rate = context.optimizer.param_groups[0]["lr"]
            file.write(json.dumps([context.state.train_state.step + 1, rate]) + "\\n")

config = bridge.ConfigContainer(
    train=bridge.TrainingConfig(micro_batch_size=2, exit_interval=int(sys.argv[3]) or None),
    model=GPTModelProvider(num_layers=2, hidden_size=256, num_attention_heads=4, seq_length=128, vocab_size=128,
                           attention_dropout=0.0, hidden_dropout=0.0),
    optimizer=bridge.OptimizerConfig(optimizer="adam", use_distributed_optimizer=True, weight_decay=0.01),
    ddp=bridge.DistributedDataParallelConfig(use_distributed_optimizer=True, grad_reduce_in_fp32=True),
    validation=bridge.ValidationConfig(eval_interval=100, eval_iters=1),
    scheduler=bridge.SchedulerConfig(start_weight_decay=0.01, end_weight_decay=0.01),
    dataset=bridge.GPTDatasetConfig(seq_length=128, random_seed=1234, reset_position_ids=False,
                                    reset_attention_mask=False, eod_mask_loss=False, num_workers=1),
    logger=bridge.LoggerConfig(log_interval=1),
    tokenizer=bridge.TokenizerConfig(tokenizer_type="NullTokenizer", vocab_size=127),
    checkpoint=bridge.CheckpointConfig(),
    mixed_precision="bf16_mixed",
)
with follow(config, plan=sys.argv[1], path=sys.argv[2]) as callbacks:
    pretrain(config, forward_step, callbacks=[*callbacks, Rates()])
"""


def train(plan: Path, path: str, exit_interval: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the script on the first GPU."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(plan), path, str(exit_interval)],
        env={**os.environ, **DETERMINISTIC, **one_rank()},
        cwd=plan.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800,
    )  # fmt: skip


def test_a_campaign_in_bridges_own_loop(tmp_path: Path) -> None:
    if importlib.util.find_spec("megatron.bridge") is None:
        pytest.skip("needs Megatron-Bridge installed")
    plan = write_campaign(tmp_path)
    before, rest = plan.read_text().split("megatron: ")
    text = before + "launch: " + rest.split("launch: ")[1]
    plan.write_text(text.replace("device: cpu", "device: gpu").replace("sequence_length: 32", "sequence_length: 128"))
    for path, interval, code in (("main", 0, 0), ("v1", 6, 75), ("v1", 0, 0)):
        done = train(plan, path, interval)
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    campaign = Campaign.open(plan)
    for name, saved in (("main", (4, 11)), ("v1", (6, 8))):
        path = campaign.path(name)
        assert Checkpoints.in_folder(tmp_path / f"run/paths/{name}/checkpoints").complete == saved
        lines = (tmp_path / f"rates-{name}.jsonl").read_text().splitlines()
        for iteration, rate in map(json.loads, lines):
            wanted = path.schedule.lr((iteration - 1) * 4, **lr_range(campaign.plan))
            assert rate == pytest.approx(wanted, rel=1e-12), (name, iteration)
