"""What changes Megatron: calls by name, all hooks or none, and each gap filled once."""

import sys
from types import ModuleType
from typing import Any

import pytest

from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.training.megatron.names import Name
from megatron_lrps.training.megatron.patching import Call, Hook, fill_gaps, is_in_place, put_in_place, replace

FIX = "install megatron-core 0.19.2."


def save(iteration: int, model: str, persistent: bool = True) -> list[Any]:
    return [iteration, model, persistent]


class Writer:
    @staticmethod
    def copy(buckets: list[int]) -> list[int]:
        return buckets


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of Megatron's."""
    module = ModuleType("upstream")
    module.save, module.load, module.Writer = save, len, Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "upstream", module)
    monkeypatch.setattr(Writer, "copy", Writer.__dict__["copy"])
    return module


def report(error: LrpsError) -> None:
    raise AssertionError(error)


def test_a_hook_reads_and_changes_arguments_by_name(upstream: Any) -> None:
    seen: list[Any] = []

    def run(call: Call) -> Any:
        seen.append((call["iteration"], call["model"], call["persistent"]))
        return call.proceed(), call.proceed(model="other")

    put_in_place([Hook(Name("upstream", "save", ("model", "iteration")), run)], "0.19.2", FIX, report)
    assert upstream.save(4, model="gpt") == ([4, "gpt", True], [4, "other", True])
    assert upstream.save(5, "gpt", False) == ([5, "gpt", False], [5, "other", False])
    assert seen == [(4, "gpt", True), (5, "gpt", False)]
    with pytest.raises(TypeError):
        upstream.save(6)


def test_all_hooks_are_put_in_place_or_none(upstream: Any) -> None:
    names = [Name("upstream", "save", ("iteration",)), Name("upstream", "train"), Name("upstream", "save", ("lr",))]
    for wrong, words in (
        (names[1], r"megatron-core 0\.19\.2 has no upstream\.train"),
        (names[2], r"upstream\.save of megatron-core 0\.19\.2 takes \(iteration, model, persistent\).*\(lr\)"),
    ):
        with pytest.raises(RefusedError, match=words):
            put_in_place([Hook(names[0], Call.proceed), Hook(wrong, Call.proceed)], "0.19.2", FIX, report)
    assert upstream.save is save


def test_an_error_of_the_family_ends_the_rank_with_its_code(upstream: Any) -> None:
    told: list[str] = []

    def run(call: Call) -> Any:
        raise RefusedError("The path is lost.", "see who has it.")

    put_in_place([Hook(Name("upstream", "save"), run)], "0.19.2", FIX, lambda error: told.append(str(error)))
    with pytest.raises(SystemExit) as leaving:
        upstream.save(4, "gpt")
    assert leaving.value.code == 78
    assert told == ["The path is lost. Fix: see who has it."]


def test_a_gap_is_filled_once_also_in_a_class(upstream: Any) -> None:
    name = Name("upstream", "Writer.copy", ("buckets",))
    for _ in range(2):
        fill_gaps([Hook(name, lambda call: [each + 1 for each in call.proceed()])], "0.19.2", FIX)
    assert is_in_place(name)
    assert Writer.copy([1, 2]) == [2, 3] == Writer().copy([1, 2])


def test_an_object_is_replaced_where_there_is_one(upstream: Any) -> None:
    replace(upstream, "load", "ours")
    assert upstream.load == "ours"
    with pytest.raises(AttributeError):
        replace(upstream, "store", "ours")
