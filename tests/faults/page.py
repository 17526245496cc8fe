"""docs/reliability.md, from the fault farm's results: ``python -m tests.faults.page``; nothing in it is by hand."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.faults.campaigns import INTERVAL
from tests.faults.farm import RESULTS
from tests.releases.page import table

PAGE = RESULTS.parents[1] / "reliability.md"
Result = dict[str, Any]

_HEAD = """\
# Reliability

<!-- Made from docs/results/faults.jsonl: run `make soak`, or `python -m tests.faults.page` alone. -->

`make soak` breaks real runs of a small model, two ranks over gloo on a CPU. It kills a rank, all ranks, torchrun,
`lrps run`, all of these at once, or the process that writes checkpoints in the background, at a random instant of a
start, of training, an evaluation, a save, or what comes after it. Then the same command is run again. After each fault:

- every loss so far is that of an undisturbed run, **digit for digit**; after every tenth, so are those of the whole
  campaign;
- no checkpoint that was whole is lost: at most the iterations since the last save are trained again;
- `lrps run` ends by itself, nothing of the run is left over, and it shows no traceback.

"""
_WHAT = {
    "": "before the first report",
    "starting": "starting",
    "reading": "reading data",
    "loading": "loading a checkpoint",
    "training": "training",
    "evaluating": "evaluating",
    "saving": "saving",
    "finishing": "hashing what was saved",
}


def held(result: Result) -> bool:
    """Whether all that must hold after a fault does."""
    fine = result["equal"] and result["kept"] and not result["traceback"] and result.get("equal_at_the_end", True)
    return bool(fine and result["ended"] is not None and result["left"] == 0)


def page(results: Sequence[Result]) -> str:
    """Return the page."""
    broken = [result for result in results if not held(result)]
    ends = [result for result in results if "equal_at_the_end" in result]
    lines = [
        f"So far: **{len(results)} faults, {len(results) - len(broken)} of them as above**. Campaigns that came to "
        f"their end: {len(ends)}, and {sum(each['equal_at_the_end'] for each in ends)} of them digit-equal. They save "
        f"every {INTERVAL} iterations.",
        "",
        *_by("what is killed", results, lambda result: result["target"]),
        "",
        *_by("when", results, lambda result: _WHAT[result["doing"]]),
        "",
        *_by("layout and saves", results, lambda result: f"{result['layout']}, {result['save']}"),
        "",
    ]
    if broken:
        rows = [[str(each["number"]), each["target"], _WHAT[each["doing"]], _why(each)] for each in broken]
        lines += ["What did not hold:", "", *table(["fault", "killed", "when", "what"], rows), ""]
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
        "it did not end": result["ended"] is None,
        f"{result['left']} processes left": result["left"] > 0,
    }
    return ", ".join(why for why, is_so in whys.items() if is_so)


if __name__ == "__main__":
    PAGE.write_text(page(read_results()), "utf-8")
