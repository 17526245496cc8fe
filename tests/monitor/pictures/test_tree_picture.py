"""The tree as a picture: its rows, names and size, and what is trained of it."""

import re

import pytest
from PIL import Image

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures import tree_picture
from megatron_lrps.monitor.pictures.axis import axis_of
from megatron_lrps.monitor.pictures.tree_picture import draw_tree

pytestmark = pytest.mark.filterwarnings("error")


def drawn(file):
    return re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())


def test_children_stand_right_below_their_parents(make_tree):
    tree = make_tree(2, 100, paradigm="[cpt, lrps]")
    assert [path.name for path in tree_picture._in_order(tree)] == ["cpt-v1", "cpt-v2", "main", "v1", "v2"]


def test_every_path_has_a_row_with_its_name(make_tree, tmp_path):
    tree = make_tree(2, 100, paradigm="[lrps, cpt]")
    draw_tree(tree, {"main": 140}, tmp_path / "tree.png", tmp_path / "tree.svg")
    with Image.open(tmp_path / "tree.png") as picture:
        assert picture.size == (1200, 130 + 30 * 5 + 2 * 22)  # two rows of the names of three kinds
    assert {"main", "v1", "v2", "cpt-v1 (v1)", "cpt-v2 (v2)", "iteration", "Paths of demo"} <= set(
        drawn(tmp_path / "tree.svg")
    )


def test_what_is_trained_changes_the_picture(make_tree, tmp_path):
    tree = make_tree(2, 100)
    for name, trained in (("none", {}), ("same", {"v1": 40}), ("half", {"v1": 70}), ("more", {"v1": 10**6})):
        draw_tree(tree, trained, tmp_path / f"{name}.svg")
    none, same, half, more = ((tmp_path / f"{name}.svg").read_text() for name in ("none", "same", "half", "more"))
    assert none == same  # v1 begins at 40
    assert len({none, half, more}) == 3


def test_another_axis(make_tree, tmp_path):
    tree = make_tree(2, 100)
    draw_tree(tree, {}, tmp_path / "tree.svg", axis=axis_of(tree.plan, "samples"))
    assert {"samples", "200", "800"} <= set(drawn(tmp_path / "tree.svg"))  # of 4 an iteration, to 200


def test_many_paths_and_long_names(make_tree, tmp_path):
    tree = make_tree(60, 100)
    draw_tree(tree, {}, tmp_path / "tree.png")
    with Image.open(tmp_path / "tree.png") as picture:
        assert picture.size == (1200, 130 + 30 * 61 + 2 * 22)  # two kinds, and what is planned


def test_another_suffix_is_refused(make_tree, tmp_path):
    with pytest.raises(RefusedError, match=r"tree\.gif"):
        draw_tree(make_tree(1, 100), {}, tmp_path / "tree.gif")
