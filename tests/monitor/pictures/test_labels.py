"""Where names stand: apart from each other, and from points where there is room."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from megatron_lrps.monitor.pictures.canvas import new_figure
from megatron_lrps.monitor.pictures.labels import PlacedName, apart, name_ends, name_points

INK = "#333333"


@pytest.mark.parametrize(
    ("wanted", "placed"),
    [
        ([10, 50, 90], [10, 50, 90]),
        ([50, 50, 50], [40, 50, 60]),
        ([50, 52, 80], [46, 56, 80]),  # the middle of the first two stays at 51
        ([0, 0], [0, 10]),
        ([98, 99, 100], [80, 90, 100]),
        ([], []),
    ],
)
def test_places_are_a_gap_apart_and_near_to_those_wanted(wanted: list[float], placed: list[float]) -> None:
    assert apart(wanted, 10, 0, 100) == placed


def placed(
    put: Callable[..., None], names: list[PlacedName], points: list[tuple[float, float]]
) -> dict[str, tuple[float, float, float, float]]:
    """PlacedName -> its text's left, bottom, right and top, in pixels of axes of 0 to 100, 1000 pixels by 500."""
    with new_figure(1000, 500) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(0, 100))
        axes.plot([x for x, _ in points], [y for _, y in points], "o")
        figure.draw_without_rendering()
        put(axes, names, size=10)
        figure.draw_without_rendering()
        boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
        # An annotation's own extent has its line too.
        from matplotlib.text import Text

        boxes = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
    return {name: (box.x0, box.y0, box.x1, box.y1) for name, box in boxes.items()}


def test_ends_at_one_point_are_named_one_below_the_other() -> None:
    names = [PlacedName(f"from-{number}", (50, 20), INK) for number in range(6)]
    names += [PlacedName("alone", (10, 80), INK), PlacedName("near", (52, 20.5), INK)]
    boxes = placed(name_ends, names, [])
    assert len(boxes) == 8
    column = sorted(box for name, box in boxes.items() if name != "alone")
    by_height = sorted(column, key=lambda box: box[1])
    assert all(upper[1] >= lower[3] for lower, upper in pairwise(by_height))
    assert min(box[0] for box in column) > 500
    assert boxes["alone"][1] < 400 < boxes["alone"][3]  # a name of no column stands at its own height, 80 of 100


def test_of_more_ends_than_there_is_room_for_the_middle_ones_are_counted() -> None:
    names = [PlacedName(f"p{number}", (50, number), INK) for number in range(60)]
    boxes = placed(name_ends, names, [])
    # A line of 10 points is 13.9 pixels, 1.3 of them 18.06: 27 lines in 500 pixels, of which one is the count's.
    assert len(boxes) == 27
    assert {"p0", "p12", "34 more", "p47", "p59"} <= boxes.keys()
    assert not {"p13", "p46"} & boxes.keys()


@pytest.mark.parametrize(
    ("crowd", "side"),
    [
        ([], "below"),
        ([(50, 46)], "above"),
        ([(50, 46), (50, 54)], "left"),
        ([(50, 46), (50, 54), (48, 50)], "right"),
        ([(50, 46), (50, 54), (48, 50), (52, 50), (52.1, 50.1), (48.1, 50)], "below"),
    ],
)
def test_a_name_covers_no_other_point_where_a_side_is_free(crowd: list[tuple[float, float]], side: str) -> None:
    left, bottom, right, top = placed(name_points, [PlacedName("v1", (50, 50), INK)], [(50, 50), *crowd])["v1"]
    # The point is at 500, 250.
    found = {"below": top < 250, "above": bottom > 250, "left": right < 500, "right": left > 500}
    assert [name for name, holds in found.items() if holds] == [side]


def test_a_name_that_would_touch_another_wherever_it_stood_is_left_out() -> None:
    names = [PlacedName(f"version-{number}", (50 + number / 100, 50), INK) for number in range(6)]
    boxes = placed(name_points, names, [])
    assert list(boxes) == ["version-5", "version-4", "version-3", "version-2"]  # below, above, left, right


def test_a_name_stands_on_faint_noise_rather_than_on_a_curve_in_front() -> None:
    with new_figure(1000, 500) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(0, 100))
        axes.plot([50, 100], [50, 50], linewidth=2.5)  # two points, the second far away: all between is covered
        noise = [50 + step / 10 for step in range(-40, 41)]
        for height in (46, 54):  # above and below, but not on the curve
            axes.plot(noise, [height] * len(noise), linewidth=0.6)
        axes.plot([50, 0], [50, 50], linewidth=2.5)
        figure.draw_without_rendering()
        name_points(axes, [PlacedName("v2", (50.0, 50.0), INK)], size=10)
        (text,) = axes.texts
        assert text.get_position()[0] == 0.0  # neither left nor right, where the curve is
