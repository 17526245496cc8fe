"""A branch without a plan reads what its parent reads, though Megatron orders data by --train-iters."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from megatron_lrps.training.megatron.stock_order import order_samples, read_once
from tests.training.campaigns import ENTRY
from tests.training.harness import train, write_tokens

FORK = 4
BRANCH = f"--lrps-cpu --lrps-fork-iter {FORK} --lrps-decay-iters 6 --lrps-decay-shape linear"


def data(folder: Path, documents: int) -> str:
    """Flags of a data set of so many documents of 32 tokens: one sample each, and four an iteration."""
    write_tokens(folder / "data", [[(7 * number + i) % 120 for i in range(32)] for number in range(documents)])
    return f"--data-path {folder / 'data'} --split 100,0,0 --eval-iters 0 --save-interval 100"


@pytest.mark.training
def test_a_branch_reads_its_parents_samples(tmp_path: Path) -> None:
    # Main asks for 80 samples: two epochs of 50. The branch, by itself, would ask for 40 and get another order.
    flags = data(tmp_path, 50)
    main = f"{flags} --train-iters 20 --save {tmp_path / 'main'}"
    train(tmp_path / "a", f"{main} --exit-interval {FORK}")
    further = train(tmp_path / "b", f"{main} --load {tmp_path / 'main'} --exit-interval {FORK + 1}")
    branch = train(
        tmp_path / "c",
        f"{flags} {BRANCH} --lrps-parent {tmp_path / 'main'} --save {tmp_path / 'v'}",
        code=ENTRY,
    )
    assert branch.losses[FORK + 1] == further.losses[FORK + 1]
    assert list(branch.losses) == [5, 6, 7, 8, 9, 10]


@pytest.mark.training
def test_a_branch_that_would_read_other_samples_is_refused(tmp_path: Path) -> None:
    # Main asks for 16 samples of 10 documents, the branch for 40: two epochs and four.
    flags = data(tmp_path, 10)
    train(tmp_path / "a", f"{flags} --train-iters {FORK} --save {tmp_path / 'main'}")
    with pytest.raises(AssertionError, match="ended with code 78") as refusal:
        train(
            tmp_path / "b",
            f"{flags} {BRANCH} --lrps-parent {tmp_path / 'main'} --save {tmp_path / 'v'}",
            code=ENTRY,
        )
    assert "ends at sample 40, its parent's data were drawn for 16" in str(refusal.value)
    assert "--train-iters 10 or more" in str(refusal.value)


def test_the_number_is_carried_from_checkpoint_to_checkpoint() -> None:
    assert order_samples({"train_iters": 20, "train_samples": None, "global_batch_size": 4}) == 80
    assert order_samples({"train_iters": None, "train_samples": 70, "global_batch_size": 4}) == 70
    assert order_samples({"train_iters": 10, "global_batch_size": 4, "lrps_order_samples": 80}) == 80


def test_what_is_read_once() -> None:
    def part(documents: int, drawn: int) -> SimpleNamespace:
        return SimpleNamespace(indices=range(documents), document_index=range(drawn))

    assert read_once(None)
    assert read_once(part(5, 5))
    assert not read_once(part(5, 10))
    assert read_once(SimpleNamespace(datasets=[part(5, 5), part(2, 2)]))
    assert not read_once(SimpleNamespace(datasets=[part(5, 5), part(2, 4)]))
    assert not read_once(SimpleNamespace())  # a data set of another kind
