"""The tables of releases are what the recorded results say."""

from tests.releases.page import (
    branches_table,
    layouts_table,
    pages,
    read_results,
    releases_table,
    with_tables,
)

RESULTS = {
    "0.18.2 wheel": {
        "test_fork": True,
        "test_resume": False,
        "test_oracle": True,
        "test_export": True,
        "branched on 0.19.2 wheel": True,
        "test_buckets_lose_the_optimizer_even_in_the_same_layout": True,
    },
    "0.19.2 wheel": {
        "branched on 0.18.2 wheel": False,
        "test_buckets_keep_the_optimizer[reshardable, buckets one one ]": True,
        "test_buckets_keep_the_optimizer[reshardable, buckets one TP2 ]": False,
    },
}


def test_a_feature_that_failed_or_was_not_tried_says_so() -> None:
    assert releases_table(RESULTS)[2:] == ["| 0.18.2 wheel | yes | **no** | yes | not tried | yes | not tried |"]


def test_a_branch_on_another_release_works_or_is_refused() -> None:
    assert branches_table(RESULTS) == [
        "| main on | branch on 0.18.2 wheel | branch on 0.19.2 wheel |",
        "| --- | --- | --- |",
        "| 0.18.2 wheel | same | works |",
        "| 0.19.2 wheel | refused | same |",
    ]


def test_a_layouts_cell_says_what_the_tests_showed() -> None:
    lines = layouts_table(RESULTS)
    assert lines[0] == "| what is loaded | 0.18.2 | 0.19.2 |"
    assert lines[-1] == "| the same with several buckets | **not even the same** | **not as expected** |"


def test_a_table_replaces_the_one_before() -> None:
    page = "A\n<!-- made from docs/results/releases.json -->\nold\n<!-- end -->\nB\n"
    made = with_tables(page, ["| new |"])
    assert made == "A\n<!-- made from docs/results/releases.json -->\n| new |\n<!-- end -->\nB\n"
    assert with_tables(made, ["| new |"]) == made


def test_the_pages_are_up_to_date() -> None:
    for file, text in pages(read_results()).items():
        assert file.read_text("utf-8") == text, f"{file.name}: run python -m tests.releases.page"


def test_no_supported_release_has_failed() -> None:
    for release, cases in read_results().items():
        failed = [name for name, passed in cases.items() if not passed and not name.startswith("branched on ")]
        assert not failed, f"{release}: {failed}"
