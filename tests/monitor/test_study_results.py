"""What a study found, by numbers that a reader can work out."""

import csv
import io
import json
import math
from dataclasses import replace

import pytest

from megatron_lrps.monitor.study_results import (
    Line,
    as_csv,
    as_json,
    as_markdown,
    as_text,
    lines_of,
    not_finite,
    spread,
    verdicts,
)
from megatron_lrps.monitor.version_costs import VersionCost, VersionCosts


def row(paradigm: str, version: str, *perplexities: float | None) -> VersionCost:
    sets = {f"{version}-{number}": value for number, value in enumerate(perplexities)}
    return VersionCost(
        version=version, paradigm=paradigm, path=f"{paradigm}-{version}", fork=0, end=10, iterations=10, cost=58,
        samples=58, by_ptfs=100, of_cpt=1.0, perplexity=sets,
    )  # fmt: skip


def tables(*seeds: dict[str, float]) -> dict[tuple[str, int], VersionCosts]:
    """For each seed paradigm -> perplexity of v2; v1 has 10 everywhere."""
    return {
        ("cosine", number): VersionCosts(
            campaign="c",
            totals=(),
            rows=tuple(
                each
                for name, ppl in found.items()
                for each in (row(name, "v1", 10.0), row(name, "v2", ppl * 2, ppl / 2))
            ),
        )
        for number, found in enumerate(seeds, 1)
    }


def line(lines: list[Line], path: str) -> Line:
    return next(each for each in lines if each.row.path == path)


def test_the_mean_and_its_spread_are_over_seeds() -> None:
    lines = lines_of(tables({"lrps": 10.0, "ptfs": 10.0, "cpt": 12.5}, {"lrps": 12.0, "ptfs": 10.0, "cpt": 12.5}))
    ours = line(lines, "lrps-v2")
    assert dict(ours.perplexity).keys() == {1, 2}
    assert math.isclose(ours.perplexity[1], 10.0)  # the geometric mean of 20 and 5
    found = ours.ratio("ptfs")
    assert found is not None
    assert math.isclose(found.mean, 1.1)
    assert math.isclose(found.deviation or 0, math.sqrt(0.02))  # 1.0 and 1.2
    assert str(spread([1.0, 3.0])) == "2.000 ± 1.414"
    assert str(spread([2.0])) == "2.000"
    assert spread([1.0, math.inf]) is None


def test_a_verdict_says_what_does_not_hold() -> None:
    good = lines_of(tables({"lrps": 10.0, "ptfs": 10.0, "cpt": 12.5}))
    assert verdicts(good) == [
        "cosine: perplexity of LRPS over PTFS's <= 1.01: v2 1.000: holds",
        "cosine: perplexity of LRPS over CPT's < 1: v2 0.800: holds",
    ]
    bad = lines_of(tables({"lrps": 12.5, "ptfs": 10.0, "cpt": 12.5}))
    assert [each.rpartition(": ")[2] for each in verdicts(bad)] == ["does not hold for v2", "does not hold for v2"]


def test_what_is_not_validated_yet_is_left_out() -> None:
    half = tables({"lrps": 10.0, "ptfs": 10.0})
    whole = half["cosine", 1]
    rows = tuple(each if each.paradigm == "lrps" else row("ptfs", each.version, None) for each in whole.rows)
    lines = lines_of({("cosine", 1): VersionCosts(campaign="c", totals=(), rows=rows)})
    assert {each.row.paradigm for each in lines} == {"lrps"}
    assert verdicts(lines) == []


def test_what_has_diverged_is_said() -> None:
    found = tables({"lrps": 10.0, "ptfs": math.nan}, {"lrps": 10.0, "ptfs": 8.0})
    notes = not_finite(found)
    assert notes == ["cosine, seed 1: ptfs-v2 has a perplexity that is not finite, and is in no mean"]
    lines = lines_of(found)
    assert dict(line(lines, "ptfs-v2").perplexity) == pytest.approx({2: 8.0})
    assert as_text(lines, notes).endswith(notes[0])
    assert f"- {notes[0]}\n" in as_markdown(lines, "A study", notes=notes)


def test_every_form_holds_the_numbers() -> None:
    lines = lines_of(tables({"lrps": 10.0, "ptfs": 8.0}, {"lrps": 11.0, "ptfs": 8.0}))
    rows = list(csv.DictReader(io.StringIO(as_csv(lines))))
    assert [float(each["perplexity"]) for each in rows if each["path"] == "lrps-v2"] == pytest.approx([10.0, 11.0])
    assert json.loads(as_json(lines))["lines"][1]["perplexity"] == pytest.approx({"1": 10.0, "2": 11.0})
    assert "10.500 ± 0.707" in as_text(lines)
    assert as_markdown(lines, "A study").startswith("# A study\n\n| run | version |")


def test_a_run_is_compared_with_the_baselines_of_another_seed_by_seed() -> None:
    plain = tables({"lrps": 10.0, "ptfs": 10.0, "cpt": 12.5}, {"lrps": 12.0, "ptfs": 8.0, "cpt": 12.5})
    replay = {("replay", seed): found for (_, seed), found in tables({"lrps": 9.0}, {"lrps": 8.0}).items()}
    lines = [line for line in lines_of(plain | replay, {"replay": "cosine"}) if line.run == "replay"]
    assert [line.ratio("ptfs") for line in lines if line.row.paradigm == "lrps"][-1] == spread([0.9, 1.0])
    alone = [line for line in lines_of(plain | replay) if line.run == "replay"]
    assert {line.ratio("ptfs") for line in alone} == {None}


def test_a_run_with_longer_windows_costs_a_share_of_the_ptfs_that_it_is_compared_with() -> None:
    plain = tables({"lrps": 10.0, "ptfs": 10.0})
    [short] = tables({"lrps": 9.0}).values()
    rows = tuple(replace(each, samples=63, by_ptfs=109) for each in short.rows)
    longer = {("longer", 1): replace(short, rows=rows)}
    lines = {line.run: line.row for line in lines_of(plain | longer, {"longer": "cosine"})}
    assert (lines["longer"].of_ptfs, lines["cosine"].of_ptfs) == (0.63, 0.58)
    alone = {line.run: line.row for line in lines_of(plain | longer)}
    assert alone["longer"].of_ptfs == 63 / 109
