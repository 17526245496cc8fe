"""Against stock Megatron with its own flags: the same learning rates and losses, digit for digit."""

from pathlib import Path

import pytest

from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.plan.megatron_arguments import arguments
from tests.training.campaigns import ENTRY
from tests.training.harness import GPT, TINY, Trained, read_scalars, train

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
        ("--squared-relu", ("--squared-relu: True in this run, False in", "another model", "drop --squared-relu")),
        ("--clip-grad 0.5", ("--clip-grad: 0.5 in this run, 1.0 in", "--lrps-allow clip_grad")),
        ("--clip-grad 0.5 --lrps-allow clip-gard", ("--lrps-allow clip-gard", "did you mean clip_grad?")),
        ("--optimizer sgd --lrps-allow disk", ("--optimizer sgd: megatron-core 0.19 saves SGD's state",)),
    ],
)
def test_a_branch_that_would_be_wrong_is_refused(
    flags: str, words: tuple[str, ...], main: Path, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="ended with code 78") as refusal:
        train(tmp_path / "run", our_flags("cosine", main) + f" --save {tmp_path / 'save'}{SAVE} {flags}", code=ENTRY)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_what_is_allowed_by_name_may_differ_from_the_fork_on(main: Path, tmp_path: Path) -> None:
    flags = f" --save {tmp_path}{SAVE} --clip-grad 0.5 --lrps-allow clip-grad"
    assert list(train(tmp_path, our_flags("cosine", main) + flags, code=ENTRY).losses) == list(range(FORK + 1, END + 1))
    saved = open_checkpoint(tmp_path / f"iter_{END:07d}").args
    assert sorted(saved.keys() - arguments().keys() - {name for name in saved if name.startswith("lrps_")}) == []


@pytest.mark.parametrize(
    ("base", "code", "flags", "words"),
    [
        # Each of the four steps is skipped: the scale would have to fall for a hundred more.
        (
            TINY.replace("--bf16", "--fp16 --initial-loss-scale 1e38"),
            GPT,
            "",
            "holds no state of the optimizer: it was saved while fp16's loss scale was still falling",
        ),
        # Iterations of 2, 2, 4 and 4 samples. The harness would part the schedule's words.
        (
            TINY.replace("--global-batch-size 4", ""),
            f"import sys; sys.argv += ['--step-batch-size-schedule', '0:2 128:4']; {GPT}",
            " --global-batch-size 4",
            "has read 12 samples, and 4 iterations of 2 are 8: its batch size has changed on the way",
        ),
    ],
    ids=["fp16-skipped", "batch-steps"],
)
def test_a_fork_point_that_no_branch_can_keep_is_refused(
    base: str, code: str, flags: str, words: str, tmp_path: Path
) -> None:
    main = tmp_path / "main"
    stock = f"--mock-data --train-iters {FORK} --save {main} --save-interval {FORK}"
    train(main, stock, base=base, code=code)
    ours = our_flags("cosine", main) + f" --save {tmp_path / 'save'}{SAVE}{flags}"
    with pytest.raises(AssertionError, match="ended with code 78") as refusal:
        train(tmp_path / "run", ours, base=base, code=ENTRY)
    assert words in str(refusal.value), refusal.value
