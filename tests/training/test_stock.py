"""Against stock Megatron with its own flags: the same learning rates and losses, digit for digit."""

from pathlib import Path

import pytest

from tests.training.campaigns import ENTRY
from tests.training.harness import Trained, read_scalars, train

pytestmark = pytest.mark.training

FORK, END, MIDDLE = 4, 10, 7
SAVE = " --save-interval 100"
STYLES = {"cosine": "cosine", "linear": "linear", "1-sqrt": "minus_sqrt", "exponential": "exponential"}


@pytest.fixture(scope="module")
def main(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A constant-LR checkpoint at the fork, trained by stock Megatron."""
    folder = tmp_path_factory.mktemp("stock")
    train(folder / "main", f"--mock-data --train-iters {FORK} --save {folder / 'main'} --save-interval {FORK}")
    return folder / "main"


def stock_flags(style: str) -> str:
    return (
        f"--mock-data --train-iters {END} --lr-decay-style WSD --lr-wsd-decay-style {style}"
        f" --lr-decay-iters {END} --lr-wsd-decay-iters {END - FORK}"
    )


def our_flags(shape: str, main: Path) -> str:
    return (
        f"--mock-data --lrps-cpu --lrps-fork-iter {FORK} --lrps-decay-iters {END - FORK} --lrps-decay-shape {shape}"
        f" --lrps-parent {main}"
    )


def rates(folder: Path) -> dict[int, float]:
    return dict(read_scalars(folder / "events")["learning-rate"])


@pytest.fixture(scope="module")
def cosine(main: Path) -> tuple[Trained, Path]:
    """Our cosine branch off the stock checkpoint, saved half-way too."""
    folder = main.parent / "ours-cosine"
    return train(folder, our_flags("cosine", main) + f" --save {folder} --save-interval {MIDDLE}", code=ENTRY), folder


@pytest.mark.parametrize(
    "shape",
    [
        "cosine",
        "1-sqrt",
        pytest.param("linear", marks=pytest.mark.soak),
        pytest.param("exponential", marks=pytest.mark.soak),
    ],
)
def test_a_branch_equals_stocks(shape: str, main: Path, cosine: tuple[Trained, Path], tmp_path: Path) -> None:
    stock = train(
        tmp_path / "stock",
        stock_flags(STYLES[shape])
        + f" --override-opt_param-scheduler --load {main} --ckpt-step {FORK} --save {tmp_path / 'stock'}{SAVE}",
    )
    if shape == "cosine":
        ours, folder = cosine
    else:
        folder = tmp_path / "ours"
        ours = train(folder, our_flags(shape, main) + f" --save {folder}{SAVE}", code=ENTRY)
    assert list(ours.losses) == list(range(FORK + 1, END + 1))
    assert ours.losses == stock.losses
    assert rates(folder) == rates(tmp_path / "stock")
    assert rates(folder)[END] == pytest.approx(1e-4)


def test_stock_resumes_our_branch(cosine: tuple[Trained, Path], tmp_path: Path) -> None:
    ours, folder = cosine
    stock = train(tmp_path, stock_flags("cosine") + f" --load {folder} --ckpt-step {MIDDLE} --save {tmp_path}{SAVE}")
    assert stock.losses == {i: loss for i, loss in ours.losses.items() if i > MIDDLE}


def test_our_branch_resumes_from_its_own_folder(main: Path, cosine: tuple[Trained, Path], tmp_path: Path) -> None:
    ours, _ = cosine
    flags = our_flags("cosine", main) + f" --save {tmp_path / 'again'}{SAVE}"
    # The same command twice, as a requeued job gives it: the second must not begin at the fork again.
    with pytest.raises(AssertionError, match="ended with code 75"):
        train(tmp_path / "first", f"{flags} --exit-interval {MIDDLE}", code=ENTRY)
    second = train(tmp_path / "second", flags, code=ENTRY)
    assert second.losses == {i: loss for i, loss in ours.losses.items() if i > MIDDLE}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--lr 2e-3", ("--lr", "0.002", "0.001")),
        ("--train-iters 11", ("--train-iters 11", "4 + 6 = 10")),
        ("--override-opt_param-scheduler", ("--override-opt-param-scheduler",)),
        ("--seq-length 16", ("--seq-length", "16", "32")),
    ],
)
def test_a_branch_that_would_be_wrong_is_refused(
    flags: str, words: tuple[str, ...], main: Path, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="ended with code 78") as refusal:
        train(tmp_path / "run", our_flags("cosine", main) + f" --save {tmp_path / 'save'}{SAVE} {flags}", code=ENTRY)
    assert all(word in str(refusal.value) for word in words), refusal.value
