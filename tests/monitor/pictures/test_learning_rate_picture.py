"""Pictures: their size, what they name, that no warning is raised, and what a refused or failed one leaves."""

import math
import re
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from PIL import Image

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.monitor.pictures import canvas, colours, learning_rate_picture, loss_picture, tree_picture
from megatron_lrps.monitor.pictures.learning_rate_picture import draw_lr
from megatron_lrps.monitor.pictures.loss_picture import draw_losses
from megatron_lrps.monitor.scalars import read_run
from megatron_lrps.plan import expand, load_plan, parse_plan

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.filterwarnings("error")


def texts(file):
    return re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())


def test_a_branch_begins_at_its_fork_and_ends_at_min(make_tree):
    tree = make_tree(4, 100)
    xs, ys = learning_rate_picture.curve_of(tree, tree.path("v2"))
    assert (xs[0], ys[0]) == (140, 3e-4)
    assert (xs[-1], ys[-1]) == (200, 3e-5)
    middle = xs.index(170)
    assert ys[middle] == pytest.approx((3e-4 + 3e-5) / 2)
    assert len(xs) < 100


def test_main_warms_up_and_holds(make_tree):
    tree = make_tree(4, 100)
    assert learning_rate_picture.curve_of(tree, tree.path("main")) == ([0, 5, 5, 340], [0.0, 3e-4, 3e-4, 3e-4])


def test_a_restart_rises_from_its_parents_end(make_tree):
    tree = make_tree(2, 100, paradigm="cpt")
    xs, ys = learning_rate_picture.curve_of(tree, tree.path("cpt-v2"))
    assert (xs[0], ys[0]) == (100, 3e-5)
    assert (xs[1], ys[1]) == (100, 3e-4)


def test_lr_png_has_its_size(make_tree, tmp_path):
    tree = make_tree(4, 100)
    draw_lr(tree, tree.paths, tmp_path / "deep" / "lr.png")
    assert size(tmp_path / "deep" / "lr.png") == (1200, 600)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["lr.png"]


def test_lr_svg_names_forks_and_versions(make_tree, tmp_path):
    tree = make_tree(12, 10000)
    draw_lr(tree, tree.paths, tmp_path / "lr.svg")
    named = texts(tmp_path / "lr.svg")
    assert {f"v{i}" for i in range(1, 13)} <= set(named)
    assert {"4,000", "114,000", "main path", "3e-4", "3e-5", "iteration"} <= set(named)


def test_the_same_picture_is_the_same_file(make_tree, tmp_path):
    tree = make_tree(2, 100)
    for name in ("a.svg", "b.svg"):
        draw_lr(tree, tree.paths, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("shape", ["knee", "multi-step", "1-sqrt"])
@pytest.mark.parametrize("minimum", [0.0, 3e-4])
def test_every_paradigm_shape_and_floor_can_be_drawn(make_tree, tmp_path, shape, minimum):
    tree = make_tree(3, 100, paradigm="[lrps, ptfs, cpt]", shape=shape, minimum=minimum)
    draw_lr(tree, tree.paths, tmp_path / "lr.svg")
    assert {"main path", "branches", "PTFS", "CPT", "v3"} <= set(texts(tmp_path / "lr.svg"))
    assert "nan" not in (tmp_path / "lr.svg").read_text().lower()


def test_listed_paths_are_named_one_by_one(listed, tmp_path):
    draw_lr(listed, listed.paths, tmp_path / "lr.svg")
    assert {"first", "half", "whole", "linear"} <= set(texts(tmp_path / "lr.svg"))
    places = heights(tmp_path / "lr.svg", ("whole", "linear"))  # both end at min
    assert abs(places["whole"] - places["linear"]) >= 11  # their letters' size
    assert not {"v1", "v2"} & set(texts(tmp_path / "lr.svg"))
    runs = {path.name: {"lm loss": [(i, 3.0) for i in range(path.fork + 1, path.end + 1)]} for path in listed.paths}
    draw_losses(listed, runs, tmp_path / "losses.svg")
    assert {"first", "half", "whole", "linear"} <= set(texts(tmp_path / "losses.svg"))
    places = sorted(heights(tmp_path / "losses.svg", ("half", "whole", "linear")).values())
    assert all(below - above >= 9 for above, below in pairwise(places))


def heights(file, names):
    found = re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]*)</text>', file.read_text())
    return {name: float(y) for y, name in found if name in names}


def test_paradigms_differ_in_dashes_and_marks(make_tree, tmp_path):
    looks = [colours.PARADIGMS[name] for name in ("lrps", "ptfs", "cpt", "cpt-rewarm")]
    for parts in zip(*looks, strict=True):
        assert len({str(part) for part in parts}) == 4
    tree = make_tree(2, 100, paradigm="[lrps, ptfs, cpt, cpt-rewarm]")
    sets = [f"lm loss validation-v{number}-web" for number in (1, 2)]
    runs = {
        path.name: {
            "lm loss": [(i, 3.0) for i in range(path.fork + 1, path.end + 1)],
            **{tag: [(path.end, 3.0)] for tag in sets},
        }
        for path in tree.paths
    }
    draw_lr(tree, tree.paths, tmp_path / "lr.svg")
    draw_losses(tree, runs, tmp_path / "losses.svg")
    for name in ("lr", "losses"):
        text = (tmp_path / f"{name}.svg").read_text()
        patterns = {
            tuple(float(each) for each in found.split(",")) for found in re.findall(r"dasharray: ([\d.,]+)", text)
        }
        # A pattern is multiples of a line's width: PTFS' dash is 5 of 1.5, CPT-REWARM's as long as its gap.
        ratios = {tuple(round(each / found[-1], 2) for each in found) for found in patterns}
        assert ratios == {(3.33, 1.0), (4.0, 1.0, 0.67, 1.0), (1.0, 1.0)}


@pytest.mark.parametrize("draw", ["lr", "losses"])
def test_a_phone_shows_all_names_of_paradigms(make_tree, tmp_path, draw):
    tree = make_tree(2, 100, paradigm="[lrps, ptfs, cpt, cpt-rewarm]")
    if draw == "lr":
        draw_lr(tree, tree.paths, tmp_path / "a.svg")
    else:
        draw_losses(tree, {path.name: {"lm loss": [(path.end, 3.0)]} for path in tree.paths}, tmp_path / "a.svg")
    found = re.findall(r'<text[^>]* x="([\d.]+)"[^>]*>([^<]*)</text>', (tmp_path / "a.svg").read_text())
    places = {name: float(x) for x, name in found}
    # Of 864 points, a pixel each on a page, a phone 360 wide shows 326; a letter of 11 points is 8 wide at the most.
    for name in ("main path", "branches", "PTFS", "CPT", "CPT-REWARM"):
        assert places[name] + 8 * len(name) <= 326, name


def test_one_path_alone_can_be_drawn(make_tree, tmp_path):
    tree = make_tree(2, 100)
    for name in ("main", "v2"):
        draw_lr(tree, [tree.path(name)], tmp_path / f"{name}.svg")
    assert "140" in texts(tmp_path / "v2.svg")


def test_names_turn_where_they_would_touch_and_long_ones_are_cut():
    assert not learning_rate_picture._too_close([0, 100], [50.0, 50.0], 1.0)
    assert learning_rate_picture._too_close([0, 100], [150.0, 90.0], 1.0)
    assert canvas.shortened("release-2026-11", 18) == "release-2026-11"
    assert canvas.shortened("a-long-name-web", 10) == "a-long…web"  # names of a row differ at their ends
    assert len(canvas.shortened("x" * 40, 18)) == 18


def test_readme_picture_is_the_example_plans(tmp_path):
    tree = expand(load_plan(ROOT / "examples" / "paper-1.2b.yaml"))
    assert tree.iterations("lrps") == 58000
    draw_lr(tree, tree.paths, tmp_path / "lr.svg")
    assert texts(ROOT / "docs" / "lr-paths.svg") == texts(tmp_path / "lr.svg")


@pytest.mark.parametrize(("name", "said"), [("lr.pdf", "the suffix .pdf"), ("lr", "no suffix")])
def test_another_suffix_is_refused(make_tree, tmp_path, name, said):
    tree = make_tree(1, 100)
    with pytest.raises(RefusedError, match=rf"{said}\. Fix: name it lr\.png or lr\.svg\."):
        draw_lr(tree, tree.paths, tmp_path / name)
    with pytest.raises(RefusedError, match=said):
        draw_losses(tree, {}, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_picture(make_tree, tmp_path, monkeypatch):
    tree, file = make_tree(1, 100), tmp_path / "lr.png"
    file.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        draw_lr(tree, tree.paths, file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def size(file):
    with Image.open(file) as image:
        return image.size


def fill(tree, campaign, log_job, skipped=()):
    for path in tree.paths:
        if path.name in skipped:
            continue
        values = []
        for i in range(path.fork + 1, path.end + 1):
            values.append(("lm loss", i, math.nan if i == 50 else 2 + 8 / i))
            if i % 20 == 0:
                values += [(f"lm loss validation-v{k}-web", i, 2 + 8 / i) for k in range(1, len(tree.windows) + 1)]
        log_job(campaign.tensorboard(path.name), values)


def logged(tree, campaign):
    return {path.name: read_run(campaign.tensorboard(path.name)) for path in tree.paths}


def test_losses_in_panels(make_tree, tmp_path, log_job):
    tree, campaign = make_tree(5, 100, paradigm="[lrps, cpt]"), CampaignFolder(tmp_path / "run")
    fill(tree, campaign, log_job, skipped={"v2"})
    draw_losses(tree, logged(tree, campaign), campaign.report / "losses.png")
    assert size(campaign.report / "losses.png") == (
        1200,
        loss_picture.TRAINING_HEIGHT + 2 * loss_picture.VALIDATION_HEIGHT,
    )
    draw_losses(tree, logged(tree, campaign), campaign.report / "losses.svg")
    named = texts(campaign.report / "losses.svg")
    assert {"v1", "v5", "Training loss of demo", "validation loss on v5-web", "main path", "CPT"} <= set(named)
    assert "v2" not in named


def test_losses_of_a_path_that_has_just_begun(make_tree, tmp_path, log_job):
    tree, campaign = make_tree(2, 100), CampaignFolder(tmp_path / "run")
    log_job(campaign.tensorboard("main"), [("lm loss", 1, 10.0)])
    draw_losses(tree, logged(tree, campaign), tmp_path / "losses.png")
    assert size(tmp_path / "losses.png") == (1200, loss_picture.TRAINING_HEIGHT)


def test_losses_of_nothing_are_refused(make_tree, tmp_path):
    tree = make_tree(2, 100)
    with pytest.raises(RefusedError, match="No path of demo has logged a loss yet"):
        draw_losses(tree, logged(tree, CampaignFolder(tmp_path)), tmp_path / "losses.png")


def test_smoothing_by_hand():
    series = [(i, float(i % 2)) for i in range(1, 9)] + [(9, math.inf), (10, 5.0)]
    assert loss_picture._medians(series, 5) == [(3, 0.5), (7, 1.0)]
    assert loss_picture._extremes([(1, 2.0), (2, 1.0), (3, 3.0), (4, 2.0)], 4) == [(2, 1.0), (3, 3.0)]
    assert loss_picture._medians([(1, math.nan)], 5) == []


def test_pyplot_and_torch_stay_out():
    code = (
        "import sys, megatron_lrps.monitor.pictures;"
        "print(*{'matplotlib.pyplot', 'torch', 'megatron'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


UNEVEN = """\
campaign: demo
save: run
sequence_length: 8
global_batch_size: 4
lr: {max: 3.0e-3, min: 3.0e-4, warmup_iters: 5}
decay: {alpha: 0.6}
versions:
  - {name: v1, iters: 60, train: [[1.0, t1]], valid: {web: w1}}
  - {name: a-very-long-version-name, iters: 12, train: [[1.0, t2]], valid: {a-set-of-a-very-long-name: w2}}
  - {name: v3, iters: 200, train: [[1.0, t3]], valid: {web: w3}}
  - {name: v4, iters: 10, train: [[1.0, t4]], valid: {web: w4}}
  - {name: v5, iters: 80, train: [[1.0, t5]], valid: {web: w5}}
cuts:
  - {name: hotfix-a, fork: 60, iters: 12}
  - {name: hotfix-b, fork: 66, iters: 7}
  - {name: hotfix-c, fork: 277, iters: 20}
"""
"""Versions of very different lengths; hotfix-a ends where the second version does, hotfix-b one iteration later."""


@pytest.fixture
def uneven(tmp_path):
    return expand(parse_plan(UNEVEN, base=tmp_path))


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved, as it was drawn."""
    saved = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *_, **options: saved.append(figure))
    return saved


def boxes(figure):
    """Text -> where it stands, of all that is no tick."""
    figure.draw_without_rendering()
    shown = [text for axes in figure.axes for text in (*axes.texts, axes.title, axes._left_title)]
    return [(text.get_text(), text.get_window_extent()) for text in shown if text.get_text()]


def assert_legible(figure):
    found = boxes(figure)
    for (one, a), (other, b) in combinations(found, 2):
        beside = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert beside, f"{one} is printed over {other}"
    for text, box in found:
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
    return [text for text, _ in found]


def test_names_of_uneven_versions_do_not_overprint(uneven, figures, tmp_path):
    draw_lr(uneven, uneven.paths, tmp_path / "lr.png")
    (figure,) = figures
    named = assert_legible(figure)
    assert {"v1", "a-very-long-…-name", "hotfix-a", "hotfix-b", "hotfix-c", "v3", "v4", "v5"} <= set(named)
    assert {"24", "60", "65", "66", "276", "277"} <= set(named)


def test_long_names_leave_the_losses_their_room(uneven, figures, tmp_path):
    tags = loss_picture.loss_sets(uneven).values()
    runs = {}
    for path in uneven.paths:
        series = [(i, 6.0 - i / 100) for i in range(path.fork + 1, path.end + 1)]
        runs[path.name] = {"lm loss": series, **dict.fromkeys(tags, series[4::5] + series[-1:])}
    draw_losses(uneven, runs, tmp_path / "losses.png")
    (figure,) = figures
    assert_legible(figure)
    assert all(axes.get_window_extent().width > 200 for axes in figure.axes)  # of 300 a column


def test_names_in_the_tree_do_not_overprint(uneven, figures, tmp_path):
    tree_picture.draw_tree(uneven, {}, tmp_path / "tree.png")
    assert_legible(figures[0])


@pytest.mark.parametrize(("trained", "dotted"), [({}, 9), ({"main": 314, "v1": 60}, 7), ({"main": 200}, 9), (None, 0)])
def test_what_is_not_trained_does_not_look_so(uneven, figures, tmp_path, trained, dotted):
    draw_lr(uneven, uneven.paths, tmp_path / "lr.png", trained=trained)
    (axes,) = figures[0].axes
    planned = [
        line for line in axes.get_lines() if line.get_alpha() == colours.PLANNED["alpha"] and len(line.get_xdata())
    ]
    assert len(planned) == dotted
    hollow = sum(line.get_marker() == "o" and line.get_color() == "white" for line in axes.get_lines()) - 1  # forks
    assert hollow == (0 if trained is None else 6 if "v1" in trained else 7)  # two versions share an end
    legend = axes.get_legend()
    shown = [text.get_text() for text in legend.get_texts()] if legend else []
    assert ("planned" in shown) == bool(dotted)


def test_a_curve_is_split_where_it_is_trained_until():
    curve = ([0, 10, 30], [0.0, 1.0, 3.0])
    assert learning_rate_picture._split(curve, 20) == (([0, 10, 20], [0.0, 1.0, 2.0]), ([20, 30], [2.0, 3.0]))
    assert learning_rate_picture._split(curve, 30) == (curve, ([], []))
    assert learning_rate_picture._split(curve, -1) == (([], []), curve)
