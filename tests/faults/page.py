"""docs/reliability.md, from the fault farm's results: ``python -m tests.faults.page``; nothing in it is by hand."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.activity import WORDS
from tests.faults.campaigns import INTERVAL
from tests.faults.farm import RESULTS
from tests.faults.fault import COMMAND
from tests.faults.machine import CODES, HANGS, NODES
from tests.releases.page import table

PAGE = RESULTS.parents[1] / "reliability.md"
Result = dict[str, Any]

_HEAD = """\
# Reliability

<!-- Made from docs/results/faults.jsonl: run `make soak`, or `python -m tests.faults.page` alone. -->

`make soak` breaks real runs of a small model, two ranks over gloo on a CPU. It kills a rank, all ranks, torchrun,
`lrps run`, all of these at once, or the process that writes checkpoints in the background, at a random instant of a
start, a fork, of training, an evaluation, a save, or what comes after it. Or from such an instant on, writes to
checkpoints fail (EIO, ENOSPC) or write half of what they are given, every fsync or rename in the campaign's folder
fails, or the clock is a day off (a small library, tests/faults/shim.c); the disk is full (a tmpfs); or the network
between the ranks is cut (a network namespace). It also kills `lrps export`, `promote`, `gc`, `eval` and a merge in the
middle. Then the same command is run again. And on a real Slurm, which it starts on the same machine, a node dies under
a job of two nodes: its processes are killed, or nothing comes from it any more. After each fault:

- every loss so far is that of an undisturbed run, **digit for digit**; after every fourth, so are those of the whole
  campaign;
- no checkpoint that was whole is lost: what came after the last one is trained again, at most one interval with
  synchronous saves, and two with asynchronous ones, where the save in the background had not ended;
- a command makes what it makes when nothing happens, bit for bit;
- `lrps run` ends by itself, a failed disk with 74, nothing of the run is left over, and it shows no traceback;
- ranks that hang on a network are ended by the stall rule, with 75; where they had nothing left to wait for, the next
  path's ranks cannot be started, and `lrps run` says so, with 1;
- Slurm requeues the job of a node that died, once it believes so (SlurmdTimeout, 6 s here); the job goes
  on by itself on other nodes, and nothing of before is left there;
- a clock that is off, or half a write, ends nothing and tells no stall: the run is stopped after some seconds, with 75.

"""
_MOMENTS = {"": "before the first report", "forking": "starting a branch from its fork point"}


def moment(result: Result) -> str:
    """What the ranks were doing at a fault, in the words of ``lrps status``; or the command that was killed."""
    doing = str(result["doing"])
    return _MOMENTS.get(doing) or next((words for what, words in WORDS.items() if what == doing), doing)


def held(result: Result) -> bool:
    """Whether all that must hold after a fault does."""
    fine = result["equal"] and result["kept"] and not result["traceback"] and result.get("equal_at_the_end", True)
    return bool(fine and _told(result) == _to_tell(result) and result["ended"] is not None and result["left"] == 0)


def _told(result: Result) -> tuple[bool, int | None]:
    """Whether a stall was told, and the exit code."""
    return result.get("alarm", False), result.get("code")


def _to_tell(result: Result) -> tuple[bool, int | None]:
    """The same as it should have been."""
    hangs = result["target"] in HANGS
    if hangs and result["doing"] == "finishing" and _told(result) == (False, 1):
        return False, 1  # nobody waits for the network any more, and the next path finds none
    return hangs, CODES.get(result["target"], result.get("code"))  # the fault decides the code, or the signal


def page(results: Sequence[Result]) -> str:
    """Return the page."""
    broken = [result for result in results if not held(result)]
    ends = [result for result in results if "equal_at_the_end" in result]
    trained = [result for result in results if result["layout"] != COMMAND]
    lines = [
        f"So far: **{len(results)} faults, {len(results) - len(broken)} of them as above**. Campaigns that came to "
        f"their end: {len(ends)}, and {sum(each['equal_at_the_end'] for each in ends)} of them digit-equal. They save "
        f"every {INTERVAL} iterations.",
        "",
        *_by("what is broken", results, lambda result: result["target"]),
        "",
        *_by("when", trained, moment),
        "",
        *_by("layout and saves", trained, lambda result: f"{result['layout']}, {result['save']}"),
        "",
    ]
    if broken:
        rows = [[str(each["number"]), each["target"], moment(each), _why(each)] for each in broken]
        lines += ["What did not hold:", "", *table(["fault", "broken", "when", "what"], rows), ""]
    return _HEAD + "\n".join(lines)


def read_results(file: Path = RESULTS) -> list[Result]:
    """Return the recorded results, in their order."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _by(name: str, results: Iterable[Result], key: Callable[[Result], str]) -> list[str]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    rows = [
        [
            group,
            str(len(found)),
            str(sum(map(held, found))),
            str(max(result["lost"] for result in found)),
            "never" if None in (times := [each["ended"] for each in found]) else f"{max(times):.0f} s",
        ]
        for group, found in sorted(groups.items())
    ]
    return table([name, "faults", "all held", "most iterations trained again", "longest until the end"], rows)


def _why(result: Result) -> str:
    whys = {
        "another loss": not result["equal"] or not result.get("equal_at_the_end", True),
        "a checkpoint lost": not result["kept"],
        "a traceback": result["traceback"],
        "it did not end": result["ended"] is None and result["target"] not in NODES,
        "its job was not requeued": result["ended"] is None and result["target"] in NODES,
        f"{result['left']} processes left": result["left"] > 0,
        "a stall was told": _told(result)[0] > _to_tell(result)[0],
        "no stall was told": _told(result)[0] < _to_tell(result)[0],
        f"exit code {result.get('code')}": _told(result)[1] != _to_tell(result)[1],
    }
    return ", ".join(why for why, is_so in whys.items() if is_so)


if __name__ == "__main__":
    PAGE.write_text(page(read_results()), "utf-8")
