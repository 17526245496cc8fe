"""The tables of releases in docs/megatron.md and docs/layouts.md, from the results that `make test-releases` wrote.

``python -m tests.releases.page`` writes them into the pages, between two comments; nothing in them is by hand.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "results" / "releases.json"
FEATURES = ("fork", "resume", "oracle", "unplanned branch", "export", "hybrid")
_BEGIN, _END = "<!-- made from docs/results/releases.json -->", "<!-- end -->"
_BRANCHED = "branched on "

Results = Mapping[str, Mapping[str, bool]]
"""Release and kind -> test -> whether it passed."""

_MOVES = "test_what_is_allowed_moves_every_tensor"
LAYOUTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "weights alone (`--no-load-optim --no-load-rng`)": (("test_weights_alone_move_from_any_layout", "any"),),
    "optimizer without `--use-distributed-optimizer`": ((rf"{_MOVES}\[by parameter", "any"),),
    "`--use-distributed-optimizer` (the default format)": (
        ("test_state_by_rank_is_damaged_by_another_number_of_ranks", "the same, with the same buckets"),
    ),
    "the same with `--dist-ckpt-optim-fully-reshardable`, one bucket": ((rf"{_MOVES}\[reshardable", "any"),),
    "the same with several buckets": (
        (r"test_buckets_keep_the_optimizer\[", "any"),
        ("test_buckets_lose_the_optimizer_even_in_the_same_layout", "**not even the same**"),
    ),
}
"""What is loaded -> tests, by the beginning of their names, and what their passing shows of TP, PP, VPP and DP."""


def releases_table(results: Results) -> list[str]:
    """Return the lines of the table release x feature."""
    rows = []
    for release, cases in results.items():
        passed = [cases.get(f"test_{feature.replace(' ', '_')}") for feature in FEATURES]
        if any(each is not None for each in passed):
            rows.append([release, *(_cell(each) for each in passed)])
    return table(["megatron-core", *FEATURES], rows)


def branches_table(results: Results) -> list[str]:
    """Return the lines of the table of main's release x the branch's release."""
    others = sorted({name.removeprefix(_BRANCHED) for cases in results.values() for name in cases if _branched(name)})
    rows = []
    for release, cases in results.items():
        found = [cases.get(f"{_BRANCHED}{other}") for other in others]
        if any(each is not None for each in found):
            cells = ["works" if each else "refused" for each in found if each is not None]
            known = iter(cells)
            rows.append([release, *("same" if each is None else next(known) for each in found)])
    return table(["main on", *(f"branch on {other}" for other in others)], rows)


def layouts_table(results: Results) -> list[str]:
    """Return the lines of the table of what is loaded x release."""
    probed = {release: cases for release, cases in results.items() if any("buckets" in name for name in cases)}
    rows = [[what, *(_layout(cases, shown) for cases in probed.values())] for what, shown in LAYOUTS.items()]
    return table(["what is loaded", *(release.split()[0] for release in probed)], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table's lines."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def with_tables(page: str, *tables: list[str]) -> str:
    """Return a page with its tables, in their order, between the comments."""
    parts = page.split(_BEGIN)
    assert len(parts) == len(tables) + 1
    made = [parts[0]]
    for lines, part in zip(tables, parts[1:], strict=True):
        made.append("\n".join(("", *lines, _END)) + part.partition(_END)[2])
    return _BEGIN.join(made)


def pages(results: Results) -> dict[Path, str]:
    """Return each page's file, and its text with the tables of these results."""
    megatron, layouts = ROOT / "docs/megatron.md", ROOT / "docs/layouts.md"
    return {
        megatron: with_tables(megatron.read_text("utf-8"), releases_table(results), branches_table(results)),
        layouts: with_tables(layouts.read_text("utf-8"), layouts_table(results)),
    }


def read_results() -> Results:
    """Return the recorded results."""
    results: Results = json.loads(FILE.read_text("utf-8"))
    return results


def _branched(name: str) -> bool:
    return name.startswith(_BRANCHED)


def _cell(passed: bool | None) -> str:
    return "not tried" if passed is None else "yes" if passed else "**no**"


def _layout(cases: Mapping[str, bool], shown: Sequence[tuple[str, str]]) -> str:
    for name, words in shown:
        found = [passed for case, passed in cases.items() if re.match(name, case)]
        if found:
            return words if all(found) else "**not as expected**"
    return "not tried"


if __name__ == "__main__":
    for file, text in pages(read_results()).items():
        file.write_text(text, "utf-8")
