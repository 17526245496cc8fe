"""path.json as `training.path_record` writes it, of a path that nobody has trained."""

import hashlib
from argparse import Namespace
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.manifest import take_hashes, take_sizes
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.plan import Tree
from megatron_lrps.plan.data_files import window_facts
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.path_record import write_path_record
from megatron_lrps.training.path_to_train import PathToTrain
from tests.campaign.checkpoints import save
from tests.plan.plans import plan_dict

TRAIN = {"v1": [[0.7, "data/web"], [0.3, "data/code"]], "v2": [[1.0, "data/news"]]}


def plan_with_data(**keys: Any) -> dict[str, Any]:
    """main (0, 1400], v1 (400, 1000] and v2 (1400, 2000], with training data."""
    versions = [{"name": name, "iters": 1000, "train": train} for name, train in TRAIN.items()]
    return plan_dict(versions=versions, **keys)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def save_hashed(checkpoints: Path, *iterations: int) -> None:
    """Checkpoints with a manifest, each with contents of its own."""
    save(checkpoints, *iterations)
    for iteration in iterations:
        folder = Checkpoint(checkpoints, iteration).folder
        (folder / "common.pt").write_text(f"{checkpoints}{iteration}")
        take_hashes(folder, take_sizes(folder))


def known(prefix: Path) -> dict[str, Any]:
    """What is known of an index: data sets are told apart by their prefixes, and hold 1,024 tokens of four bytes."""
    content = {"idx_sha256": digest(prefix.name), "bin_bytes": 4096, "bin_sample_sha256": digest("bin")}
    return {**content, "tokens": 1024}


def write_path(tree: Tree, name: str, *, status: str = "trained", tensor: int = 1) -> None:
    """Write the record of a path with the checkpoints that it has now."""
    path = tree.path(name)
    identity = Identity(
        windows=[window_facts(tree, window, known) for window in tree.windows_of(path)],
        tokenizer=digest("tokenizer"),
        order=path.order,
    )
    layout = Namespace(
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=1,
        data_parallel_size=2,
        use_distributed_optimizer=False,
    )
    CampaignFolder(tree.plan.folder).path(name).root.mkdir(parents=True, exist_ok=True)
    planned = Planned(campaign=Campaign(tree), path=path)
    write_path_record(PathToTrain.of_plan(planned), identity, layout, status)
