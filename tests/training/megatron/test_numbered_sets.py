"""Validation sets have their names where Megatron numbers them."""

import pytest
from megatron.training import training

from megatron_lrps.training.megatron.numbered_sets import named_sets


class Writer:
    def __init__(self) -> None:
        self.written: list[tuple[str, float, int]] = []
        self.flushed = False

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.written.append((tag, value, step))

    def flush(self) -> None:
        self.flushed = True


def test_figures_and_lines_have_the_sets_names(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, printed = Writer(), []
    monkeypatch.setattr(training, "get_tensorboard_writer", lambda: writer)
    monkeypatch.setattr(training, "print_rank_last", printed.append)
    before = training.print_rank_last
    with named_sets(["v1-web", "v1-code"]):
        training.get_tensorboard_writer().add_scalar("lm loss validation-1 ppl", 2.5, 8)
        training.get_tensorboard_writer().flush()
        training.print_rank_last(" validation-0 loss at iteration 10 | lm loss value: 1.0 | ")
    assert writer.written == [("lm loss validation-v1-code ppl", 2.5, 8)]
    assert writer.flushed
    assert printed == [" validation-v1-web loss at iteration 10 | lm loss value: 1.0 | "]
    assert training.print_rank_last is before


def test_without_names_nothing_changes() -> None:
    before = training.print_rank_last
    with named_sets(None):
        assert training.print_rank_last is before
