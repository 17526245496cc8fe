"""Which data a path has read, and how often, in numbers that can be worked out by hand."""

from typing import Any

from megatron_lrps.campaign.data_ledger import Range, ranges_of, totals_of
from megatron_lrps.schedule import Batches

BATCH, SEQUENCE = 10, 100
WINDOWS: list[dict[str, Any]] = [
    {"version": "v1", "iterations": 100, "data": [[3.0, "web", {"tokens": 50_000}], [1.0, "code", {"tokens": 25_000}]]},
    {"version": "v2", "iterations": 50, "data": [[1.0, "news", {"tokens": 100_000}]]},
    {
        "version": "v3",
        "iterations": 40,
        "data": [[1.0, "new", {}]],
        "replay": {"share": 0.3, "samples": {"v1": 80, "v2": 40}},
    },
]
"""1,000, 500 and 400 samples of 100 tokens; v3's are 280 of its own, 80 of v1's and 40 of v2's."""


def ranges(start: int, until: int, order: str = "chained", windows: list[dict[str, Any]] = WINDOWS) -> list[Range]:
    return ranges_of(
        "p", {"windows": windows, "order": order}, start, until, batches=Batches.of(BATCH), sequence_length=SEQUENCE
    )


def drawn(stretch: Range) -> list[tuple[str, int, float | None]]:
    return [(f"{each.prefix}{'*' * each.replayed}", each.samples, each.epochs) for each in stretch.drawn]


def test_whole_windows() -> None:
    v1, v2, v3 = ranges(0, 190)
    assert [(each.version, each.start, each.until, each.samples) for each in (v1, v2, v3)] == [
        ("v1", 0, 100, 1000),
        ("v2", 100, 150, 500),
        ("v3", 150, 190, 400),
    ]
    # 750 x 100 tokens of 50,000; 250 x 100 of 25,000
    assert drawn(v1) == [("web", 750, 1.5), ("code", 250, 1.0)]
    assert drawn(v2) == [("news", 500, 0.5)]
    assert drawn(v3) == [("new", 280, None), ("web*", 60, 0.12), ("code*", 20, 0.08), ("news*", 40, 0.04)]


def test_a_path_that_begins_and_ends_inside_of_windows() -> None:
    first, second = ranges(60, 110)
    assert (first.start, first.until, first.samples, drawn(first)) == (
        60,
        100,
        400,
        [("web", 300, 0.6), ("code", 100, 0.4)],
    )
    assert (second.start, second.until, second.samples, drawn(second)) == (100, 110, 100, [("news", 100, 0.1)])
    # A quarter of v3: 70 own, 20 and 10 replayed, as they are interleaved evenly.
    (quarter,) = ranges(180, 190)
    assert drawn(quarter) == [("new", 70, None), ("web*", 15, 0.03), ("code*", 5, 0.02), ("news*", 10, 0.01)]


def test_main_and_branch_together_make_a_version() -> None:
    assert totals_of(ranges(0, 160)) == totals_of([*ranges(0, 105), *ranges(105, 160)])


def test_totals_count_replays_too() -> None:
    found = {
        each.prefix: (each.version, each.samples, each.replayed, each.epochs) for each in totals_of(ranges(0, 190))
    }
    assert found == {
        "web": ("v1", 810, 60, 1.62),
        "code": ("v1", 270, 20, 1.08),
        "news": ("v2", 540, 40, 0.54),
        "new": ("v3", 280, 0, None),
    }


def test_a_mixed_order_reads_all_windows_at_once() -> None:
    whole = ranges(0, 190, "mixed")
    assert [(each.version, each.start, each.until, each.samples) for each in whole] == [
        ("v1", 0, 190, 1000),
        ("v2", 0, 190, 500),
        ("v3", 0, 190, 400),
    ]
    assert totals_of(whole) == totals_of(ranges(0, 190))
    half = ranges(0, 95, "mixed")
    assert [(each.version, each.start, each.until, each.samples) for each in half] == [
        ("v1", 0, 95, 500),
        ("v2", 0, 95, 250),
        ("v3", 0, 95, 200),
    ]
    assert drawn(half[0]) == [("web", 375, 0.75), ("code", 125, 0.5)]


def test_nothing_is_read_outside_of_the_windows() -> None:
    assert ranges(50, 50) == ranges(190, 300) == ranges(80, 20) == []
    assert ranges(0, 10, windows=[]) == []


def test_a_record_that_contradicts_itself_breaks_nothing() -> None:
    more = [{**WINDOWS[0], "replay": {"share": 0.5, "samples": {"v9": 10**17, "v1": 3}}}]
    assert [each.samples for each in ranges(0, 100, windows=more)] == [1000]
    twice = [WINDOWS[0], {**WINDOWS[0], "iterations": 0}]
    assert len(ranges(0, 100, windows=twice)) == 1


def test_a_batch_that_rises_adds_up() -> None:
    batches = Batches.of(5, [(500, 10)])  # 100 iterations of 5 and then 10
    data = {"windows": WINDOWS, "order": "chained"}
    found = ranges_of("p", data, 50, 190, batches=batches, sequence_length=SEQUENCE)
    assert [(each.start, each.until, each.samples) for each in found] == [
        (50, 100, 250),
        (100, 150, 500),
        (150, 190, 400),
    ]
    mixed = ranges_of("p", {**data, "order": "mixed"}, 0, 190, batches=batches, sequence_length=SEQUENCE)
    assert [each.samples for each in mixed] == [500, 500, 400]
    half = ranges_of("p", {**data, "order": "mixed"}, 0, 100, batches=batches, sequence_length=SEQUENCE)
    assert [each.samples for each in half] == [179, 179, 143]  # 500 of 1,400
