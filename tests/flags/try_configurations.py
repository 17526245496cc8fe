"""Tries Megatron-LM's own training configurations, shrunk, and writes what came of each into docs/megatron.md.

``python -m tests.flags.try_configurations CHECKOUT``: CHECKOUT is a folder with Megatron-LM's source. Each goes through
`lrps plan`, and what passes is trained: main, and a version that forks off it. Results are kept as they come, so that a
run with ``--new`` goes on where one with ``--seconds`` ended.
"""

import argparse
import hashlib
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from megatron_lrps.errors import RefusedError
from tests.flags.configurations import KINDS, RULE, Configuration, configurations
from tests.flags.trial import FailedTrialError, refused_by_plan, trained, write_trial
from tests.releases.page import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "configurations.json"
PAGE = ROOT / "docs" / "megatron.md"
_BEGIN, _END = "<!-- made from docs/results/configurations.json -->", "<!-- end of configurations -->"
OUTCOMES = ("trained", "refused by `lrps plan`", "refused by a rank", "failed", "passes `lrps plan`, not trained yet")
TRAINED, BY_PLAN, BY_RANK, FAILED, NOT_YET = OUTCOMES

Results = Mapping[str, Mapping[str, str]]
"""Kind and name of a configuration -> ``outcome``, what was said, and the hash of its shrunk ``plan``."""


def try_all(
    checkout: Path, folder: Path, seconds: float, known: Results, keep: Callable[[Results], None]
) -> dict[str, dict[str, str]]:
    """Put each configuration through `lrps plan`, and train what passes: those of one plan once.

    Args:
        checkout: A folder with Megatron-LM's source.
        folder: For the campaigns.
        seconds: After which no training is begun.
        known: The results of an earlier run; a plan of which they tell how it ended is not trained again.
        keep: Called with all results, after the plans have been looked at and after each training.
    """
    ends = time.monotonic() + seconds
    told = {of["plan"]: of for of in known.values() if of["outcome"] in (TRAINED, BY_RANK, FAILED)}
    groups: dict[str, list[Configuration]] = {}
    for each in configurations(checkout):
        groups.setdefault(plan_hash(each), []).append(each)
    same: dict[str, dict[str, str]] = {}
    for key, (each, *_) in groups.items():
        refusal = refused_by_plan(write_trial(folder / "trial", each.flags, each.ranks, base={}))
        if refusal is not None:
            same[key] = {"outcome": BY_PLAN, "says": str(refusal)}
        else:
            same[key] = dict(told.get(key, {"outcome": NOT_YET, "says": ""}))

    def results() -> dict[str, dict[str, str]]:
        return {each.name: {**same[key], "plan": key} for key, group in groups.items() for each in group}

    keep(results())
    for key in in_order_of_news({key: group[0] for key, group in groups.items() if same[key]["outcome"] == NOT_YET}):
        if time.monotonic() > ends:
            break
        each, begun = groups[key][0], time.monotonic()
        print(f"{each.name} (of {len(groups[key])}):", end=" ", flush=True)
        same[key] = _outcome(each, write_trial(folder / "trial", each.flags, each.ranks, base={}))
        same[key]["says"] = same[key]["says"].replace(str(folder), "FOLDER")
        print(same[key]["outcome"], f"{time.monotonic() - begun:.0f} s", same[key]["says"], flush=True)
        keep(results())
    return results()


def plan_hash(each: Configuration) -> str:
    """Return what identifies a shrunk plan: configurations that have it in common are trained once."""
    return hashlib.sha256(json.dumps([each.flags, each.ranks], sort_keys=True).encode()).hexdigest()[:12]


def in_order_of_news(left: Mapping[str, Configuration]) -> Iterator[str]:
    """Yield the keys so that each brings, for each of its ranks, as many flags and values as possible that are new."""
    had: set[tuple[str, str]] = set()
    pairs = {key: {(flag, str(value)) for flag, value in each.flags.items()} for key, each in left.items()}
    while pairs:
        key = max(pairs, key=lambda each: len(pairs[each] - had) / left[each].ranks)
        had |= pairs.pop(key)
        yield key


def _outcome(each: Configuration, plan: Path) -> dict[str, str]:
    try:
        trained(plan, each.ranks)
    except RefusedError as error:
        return {"outcome": BY_RANK, "says": str(error)}
    except FailedTrialError as error:
        return {"outcome": FAILED, "says": str(error)}
    return {"outcome": TRAINED, "says": ""}


def section(results: Results) -> str:
    """Return the lines of the page: how many of each kind, and why the refused ones are refused."""
    counts = Counter((name.partition("/")[0], found["outcome"]) for name, found in results.items())
    shown = [outcome for outcome in OUTCOMES if any(counts[kind, outcome] for kind in KINDS)]
    rows = [[kind, *(str(counts[kind, outcome]) for outcome in shown)] for kind in KINDS]
    total = ["all", *(str(sum(counts[kind, outcome] for kind in KINDS)) for outcome in shown)]
    why = Counter(_subject(found["says"]) for found in results.values() if found["outcome"] == BY_PLAN)
    reasons = [[subject, str(count)] for subject, count in sorted(why.items(), key=lambda each: (-each[1], each[0]))]
    lines = [f"The rule: {RULE}.", "", *table(["kind", *shown], [*rows, total]), ""]
    return "\n".join([*lines, *table(["refused by `lrps plan` because of", "configurations"], reasons)])


def _subject(says: str) -> str:
    """Return the flag that a refusal begins with, and what it is refused for."""
    found = re.match(r"(?:megatron\.|--)?([a-z][\w-]+)", says)
    for words in ("needs a GPU", "would not be honoured", "has no such flag", "is not installed", "is refused"):
        if words in says:
            return f"`{found[1] if found else ''}`: {words}"
    return f"`{found[1]}`" if found else says.partition(" have ")[0].partition(" has ")[0].lower()


def with_section(page: str, results: Results) -> str:
    """Return the page with the section of these results between its comments."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n{section(results)}\n{_END}{rest.partition(_END)[2]}"


def main() -> None:
    """Try all configurations of a checkout, write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--new", action="store_true", help="train only what has not been tried yet")
    parser.add_argument("--failed", action="store_true", help="train only what has not been trained yet")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no training after that time")
    given = parser.parse_args()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if given.new or given.failed else {}
    if given.failed:
        known = {name: found for name, found in known.items() if found["outcome"] == TRAINED}
    with tempfile.TemporaryDirectory() as folder:
        try_all(given.checkout, Path(folder), given.seconds, known, _write)


def _write(found: Results) -> None:
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
