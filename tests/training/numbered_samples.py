"""Indexes whose tokens are all different, and Megatron's own data sets of them: each token says where it is from."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

from megatron.core.datasets.gpt_dataset import GPTDatasetConfig

from megatron_lrps.plan import Tree
from megatron_lrps.training.megatron.datasets import build_datasets
from megatron_lrps.training.timeline import Timeline
from tests.training.harness import write_tokens

DOCUMENTS, LENGTH = 50, 40
SEQUENCE, BATCH = 16, 8
PREFIXES = ("v1", "v2", "v3", "code")


def write_indexes(folder: Path) -> None:
    """Write ``PREFIXES``, 124 samples each; a token is index x 100,000 + document x 1,000 + its place there."""
    for number, prefix in enumerate(PREFIXES, 1):
        write_tokens(
            folder / prefix, [[number * 100_000 + d * 1000 + t for t in range(LENGTH)] for d in range(DOCUMENTS)]
        )


def timeline(tree: Tree, path: str = "v3", *, position: int = 0, seed: int = 1234) -> Timeline:
    """The timeline of a path that starts from a position (samples)."""
    tokenizer = SimpleNamespace(eod=0, pad=-1, vocab_size=None, special_tokens_dict={}, unique_identifiers={})
    config = GPTDatasetConfig(
        random_seed=seed,
        sequence_length=SEQUENCE,
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        blend=(["replaced"], None),
        split="1,0,0",
        path_to_cache=str(tree.plan.folder / "cache"),
        mid_level_dataset_surplus=0.005,
    )
    args = Namespace(consumed_train_samples=position, seed=seed)
    train, _, _ = build_datasets(tree, tree.path(path), args, config, lambda: True)
    assert train is not None
    return train


def read(samples: Timeline, start: int = 0, end: int | None = None) -> list[tuple[int, ...]]:
    """The tokens of the samples at these positions."""
    return [tuple(samples[each]["tokens"].tolist()) for each in range(start, len(samples) if end is None else end)]


def origins(samples: list[tuple[int, ...]]) -> list[str]:
    """The index that each sample is from; no sample is from two."""
    found = [{PREFIXES[token // 100_000 - 1] for token in sample} for sample in samples]
    assert all(len(names) == 1 for names in found)
    return [next(iter(names)) for names in found]
