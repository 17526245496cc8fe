"""Whether windows shift, from the losses on earlier windows' validation sets."""

from megatron_lrps.monitor.window_shift import window_shift
from megatron_lrps.plan import Tree
from tests.plan.plans import tree_of

TAGS = {name: f"lm loss validation-{name}" for name in ("v1-web", "v2-code")}


def tree(**keys: object) -> Tree:
    """Main to 2400; v1 (400, 1000], v2 (1400, 2000], v3 (2400, 3000]."""
    versions = [
        {"name": "v1", "iters": 1000, "valid": {"web": "data/web"}},
        {"name": "v2", "iters": 1000, "valid": {"code": "data/code", "again": "data/web"}},
        {"name": "v3", "iters": 1000},
    ]
    return tree_of(versions=versions, **keys)


def test_a_version_that_forgets_is_named_with_the_rise_and_the_keys() -> None:
    runs = {
        "v1": {TAGS["v1-web"]: [(1000, 3.0)]},
        "v2": {TAGS["v1-web"]: [(1500, 9.0), (2000, 3.25)], TAGS["v2-code"]: [(2000, 2.0)]},
        "v3": {TAGS["v1-web"]: [(3000, 3.5)], TAGS["v2-code"]: [(3000, 2.125)]},
        "ptfs-v3": {TAGS["v1-web"]: [(3000, 9.0)]},
    }
    assert window_shift(tree(paradigm=["lrps", "ptfs"]), runs) == (
        "The windows shift: the loss of v3 on v1-web rose by 0.500, from 3.000 to 3.500, at iteration 3,000. To keep "
        "what earlier windows taught, have main read them again (versions[].replay: even), or the branches "
        "(branch.data: mixed)."
    )


def test_main_shows_it_before_a_second_version_is_trained() -> None:
    main = {TAGS["v1-web"]: [(500, 4.0), (1000, 3.5), (1200, 3.75), (1400, float("nan"))]}
    assert "the loss of main on v1-web rose by 0.250, from 3.500 to 3.750, at iteration 1,200" in window_shift(
        tree(), {"main": main}
    )


def test_windows_of_one_distribution_do_not_shift() -> None:
    runs = {"v1": {TAGS["v1-web"]: [(1000, 3.0)]}, "v2": {TAGS["v1-web"]: [(2000, 2.75)]}}
    assert window_shift(tree(), runs) == (
        "No loss of a version on an earlier window's validation set has risen by 0.05 or more: at most, that of v2 on "
        "v1-web went from 3.000 to 2.750, at iteration 2,000."
    )
    # Main may forget, if the branches do not.
    forgetting = {**runs, "main": {TAGS["v1-web"]: [(1000, 3.0), (1400, 9.0)]}}
    assert window_shift(tree(), forgetting) == window_shift(tree(), runs)
    slightly = {**runs, "v3": {TAGS["v1-web"]: [(3000, 3.04)]}}
    assert "has risen by 0.05 or more: at most, that of v3 on v1-web went" in window_shift(tree(), slightly)


def test_nothing_is_said_before_there_is_anything_to_compare() -> None:
    assert window_shift(tree(), {}) == ""
    assert window_shift(tree(), {"main": {TAGS["v1-web"]: [(500, 3.0), (1000, 2.0)]}}) == ""
    assert window_shift(tree(), {"v1": {TAGS["v1-web"]: [(1000, 3.0)]}, "v2": {TAGS["v1-web"]: [(1999, 9.0)]}}) == ""
    assert window_shift(tree_of(), {"main": {"lm loss": [(1, 1.0)]}}) == ""
