"""What Megatron refuses before training begins, as one plain sentence; what fails by itself keeps its traceback."""

import json
import types
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import EXIT_REFUSED, RefusedError
from megatron_lrps.training.megatron import refusals
from megatron_lrps.training.megatron.refusals import explain, judge, refuse_usage
from tests.training.campaigns import run_ranks, write_campaign
from tests.training.harness import TINY

JUDGE = """
import json, sys
from megatron_lrps.training import cpu; cpu.install()
from megatron.training import arguments
from megatron.training.argument_utils import gpt_config_from_args
from megatron_lrps.training.megatron.refusals import judge
found = {}
for name, argv in json.loads(sys.argv[1]).items():
    sys.argv = ["pretrain", *argv]
    try:
        args = arguments.parse_args()
        arguments.validate_args(args)
        args.padded_vocab_size = 128
        gpt_config_from_args(args)
        found[name] = None
    except (Exception, SystemExit) as error:
        refusal = judge(error)
        found[name] = refusal and [refusal.what, refusal.fix]
print("\\nJUDGED", json.dumps(found))
"""
MISTAKES = {
    "none": "",
    "world": "--tensor-model-parallel-size 2",
    "heads": "--num-attention-heads 5",
    "no layers": "NO --num-layers",
    "no heads": "NO --num-attention-heads",
    "both formats": "--fp16",
    "two activations": "--swiglu --squared-relu",
    "positions": "--max-position-embeddings 8",
    "saves": "--save x --save-interval 0",
    "zero layers": "--num-layers 0",
    "zero heads": "--num-attention-heads 0",
    "signal": "--exit-signal SIGFOO",
}


def mistaken(flags: str) -> list[str]:
    words = TINY.split()
    if flags.startswith("NO "):
        at = words.index(flags.removeprefix("NO "))
        return words[:at] + words[at + 2 :]
    return [*words, *flags.split()]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Name -> what is said and its fix: all of them by one rank."""
    lines = {name: mistaken(flags) for name, flags in MISTAKES.items()}
    ended = run_ranks([json.dumps(lines)], cwd=tmp_path_factory.mktemp("verdicts"), code=JUDGE)
    assert ended.codes == [0], ended.log[-3000:]
    found: dict[str, Any] = json.loads(ended.log.rpartition("JUDGED ")[2])
    return found


@pytest.mark.training
@pytest.mark.parametrize(
    ("name", "says", "fix"),
    [
        ("world", "world size (1) is not divisible by total_model_size", "multiple of TP x PP x CP"),
        # A bare assertion: its condition, and the values in it.
        (
            "heads",
            "it needs hidden_size % num_attention_heads == 0; hidden-size is 64, num-attention-heads is 5",
            "choose num-attention-heads that divide hidden-size",
        ),
        ("no layers", "num-layers or encoder-num-layers should be specified", "add num-layers"),
        ("no heads", "num_attention_heads argument is None", "add num-attention-heads"),
        # The branch that it stands in is half of what is wrong.
        ("both formats", "it needs not bf16; bf16 is True, fp16 is True", "one of bf16 and fp16"),
        ("two activations", "it needs not swiglu; swiglu is True, squared-relu is True", ""),
        ("positions", "max_position_embeddings (8) must be greater than or equal to seq_length (32)", "or more"),
        ("saves", "it needs save_interval > 0; save-interval is 0, save is x", ""),
        # Not meant as a refusal, but the arguments alone are the reason.
        ("zero layers", "ZeroDivisionError: float division by zero, in std = sigma / math.sqrt(", "num-layers"),
        ("zero heads", "ZeroDivisionError: integer modulo by zero, in assert args.hidden_size", ""),
        ("signal", "KeyError: 'SIGFOO'", ""),
    ],
)
def test_megatrons_refusals_in_plain_words(verdicts: dict[str, Any], name: str, says: str, fix: str) -> None:
    what, do = verdicts[name]
    assert says in what
    assert what.startswith("Megatron refuses this run (megatron.")
    assert "\n" not in what
    assert fix in do
    assert do


@pytest.mark.training
def test_what_megatron_takes_is_no_verdict(verdicts: dict[str, Any]) -> None:
    assert verdicts["none"] is None


def raised(code: str, module: str, folder: Path, **known: Any) -> BaseException:
    """The error that ``code`` raises as a function of a module of that name."""
    file = folder / "source.py"
    file.write_text(code)
    scope = types.ModuleType(module).__dict__ | known
    try:
        exec(compile(code, str(file), "exec"), scope)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


CHECK = """
def build(layers, ready):
    if not ready:
        raise {error}
build(3, False)
"""


@pytest.mark.parametrize("kind", ["ValueError", "AssertionError", "RuntimeError", "NotImplementedError", "Exception"])
def test_what_megatron_raises_is_a_verdict(tmp_path: Path, kind: str) -> None:
    refusal = judge(raised(CHECK.format(error=f"{kind}('no such model')"), "megatron.core.models", tmp_path))
    assert isinstance(refusal, RefusedError)
    assert refusal.what == "Megatron refuses this run (megatron.core.models, line 4): no such model."
    assert refusal.exit_code == EXIT_REFUSED


@pytest.mark.parametrize("module", ["megatron_lrps.training.session", "__main__", "my_model"])
def test_what_others_raise_keeps_its_traceback(tmp_path: Path, module: str) -> None:
    assert judge(raised(CHECK.format(error="ValueError('a bug')"), module, tmp_path)) is None


def test_what_fails_in_megatron_and_is_not_meant_keeps_its_traceback(tmp_path: Path) -> None:
    assert judge(raised("def step():\n    return [][1]\nstep()", "megatron.core.models", tmp_path)) is None
    lost = "import socket\ndef load():\n    raise ConnectionResetError(104, 'Connection reset by peer')\nload()"
    assert judge(raised(lost, "megatron.core.models", tmp_path)) is None


def test_a_library_below_megatron_is_no_verdict_of_megatrons(tmp_path: Path) -> None:
    code = "def build():\n    read('{')\nbuild()"
    assert judge(raised(code, "megatron.core.models", tmp_path, read=json.loads)) is None
    tokenizer = code.replace("build", "build_tokenizer")
    refusal = judge(raised(tokenizer, "megatron.core.tokenizers", tmp_path, read=json.loads))
    assert refusal is not None
    assert "JSONDecodeError" in refusal.what


def test_a_tokenizer_on_a_disk_that_fails_is_no_verdict(tmp_path: Path) -> None:
    code = "def build_tokenizer():\n    raise OSError({}, 'words')\nbuild_tokenizer()"
    assert judge(raised(code.format(5), "megatron.core.tokenizers", tmp_path)) is None  # EIO
    assert judge(raised(code.format(2), "megatron.core.tokenizers", tmp_path)) is not None  # ENOENT


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("def load(missing):\n    if missing:\n        exit()\nload(True)", True),
        ("import sys\ndef load(missing):\n    if missing:\n        sys.exit()\nload(True)", True),
        ("import sys\ndef _graceful_shutdown():\n    sys.exit(0)\n_graceful_shutdown()", False),
        ("import sys\ndef load():\n    sys.exit(16)\nload()", False),
        ("import argparse\ndef parse_args():\n    argparse.ArgumentParser().exit(0)\nparse_args()", False),  # --help
    ],
)
def test_an_exit_that_trained_nothing_is_no_success(tmp_path: Path, code: str, refused: bool) -> None:
    error = raised(code, "megatron.training.checkpointing", tmp_path)
    assert isinstance(error, SystemExit)
    refusal = judge(error)
    assert (refusal is not None) == refused
    if refusal is not None:
        assert "it ends here, with nothing trained; missing is True" in refusal.what


def test_once_training_has_begun_nothing_is_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_begun", False)
    error = raised(CHECK.format(error="AssertionError"), "megatron.core.models", tmp_path)
    assert judge(error) is not None
    refusals.begin_training()
    assert judge(error) is None


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "node7")
    monkeypatch.setenv("MASTER_PORT", "29500")
    refusal = judge(OSError(98, "Address already in use"))
    assert refusal is not None
    assert refusal.what == "Another process uses the address node7:29500 (MASTER_ADDR:MASTER_PORT)."


def test_values_of_a_message_with_words_are_its_numbers(tmp_path: Path) -> None:
    code = "def check(experts, size, name):\n    assert name and experts % size == 0, 'not a multiple of {}'\n"
    code += "check(3, 2, 'x')"
    assert explain(raised(code.format("2"), "megatron.core.x", tmp_path)) == "not a multiple of 2; experts is 3"
    assert explain(raised(code.format("it."), "megatron.core.x", tmp_path)) == (
        "not a multiple of it; experts is 3, size is 2"
    )


@pytest.mark.parametrize(
    ("argv", "says", "fix"),
    [
        (["--num-layer", "2"], "unrecognized arguments: --num-layer 2", "did you mean --num-layers?"),
        (["--colour", "red"], "unrecognized arguments: --colour red", "Megatron's --help"),
        (["--num-layers", "many"], "argument --num-layers: invalid int value: 'many'", "give a whole number"),
        (["--num-layers"], "argument --num-layers: expected one argument", "give its value"),
        (["--kind", "c"], "invalid choice: 'c' (choose from", "give one of those"),
    ],
)
def test_a_parser_refuses_in_one_sentence(
    capsys: pytest.CaptureFixture[str], argv: list[str], says: str, fix: str
) -> None:
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_argument("--num-layers", type=int)
    parser.add_argument("--kind", choices=["a", "b"])
    refuse_usage(parser)
    with pytest.raises(RefusedError) as refusal:
        parser.parse_args(argv)
    assert says in refusal.value.what
    assert fix in refusal.value.fix
    assert capsys.readouterr() == ("", "")


@pytest.mark.training
@pytest.mark.parametrize(
    ("extra", "ranks"),
    [
        (", swiglu: true, squared-relu: true", 1),
        (", fp4-param-gather: true", 2),
    ],
)
def test_ranks_that_megatron_refuses_say_so_and_leave_with_78(tmp_path: Path, extra: str, ranks: int) -> None:
    plan = write_campaign(tmp_path, extra=extra, processes=ranks)
    ended = run_ranks(["--lrps-plan", str(plan), "--lrps-path", "main", "--lrps-cpu"], cwd=tmp_path, ranks=ranks)
    assert ended.codes == [EXIT_REFUSED] * ranks, ended.log[-3000:]
    assert "Traceback" not in ended.log
    assert "lrps: Megatron refuses this run (megatron.training.argument" in ended.log.splitlines()[-1]
