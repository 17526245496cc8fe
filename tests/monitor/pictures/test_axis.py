"""An axis of samples or tokens is one of iterations with other numbers."""

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.axis import axis_of
from megatron_lrps.monitor.pictures.canvas import count_iterations, new_figure


@pytest.mark.parametrize(
    ("name", "iteration", "text"),
    [
        ("iterations", 12000, "12,000"),
        ("samples", 10, "40"),  # of 4 an iteration
        ("tokens", 10, "320"),  # of 8 tokens each
        ("tokens", 31250, "1M"),
        ("tokens", 31249.9, "1M"),
        ("tokens", 46875, "1.5M"),
        ("tokens", 10**9, "32B"),
        ("tokens", 0, "0"),
    ],
)
def test_texts(make_tree, name, iteration, text):
    assert axis_of(make_tree(1, 100).plan, name).text(iteration) == text


def test_another_name_is_refused(make_tree):
    with pytest.raises(RefusedError, match=r"There is no axis 'epochs'.*iterations, samples, tokens"):
        axis_of(make_tree(1, 100).plan, "epochs")


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("iterations", ["0", "20", "40", "60", "80", "100"]),
        ("samples", ["0", "100", "200", "300", "400"]),
        ("tokens", ["0", "500", "1K", "1.5K", "2K", "2.5K", "3K"]),
    ],
)
def test_ticks_are_round_numbers_of_what_is_counted(make_tree, name, texts):
    axis = axis_of(make_tree(1, 100).plan, name)
    with new_figure(800, 300) as figure:
        axes = figure.add_subplot()
        count_iterations(axes, 0, 100, axis=axis)
        figure.canvas.draw()
        low, high = axes.get_xlim()
        assert [axis.text(each) for each in axes.get_xticks() if low <= each <= high] == texts
        assert axes.get_xlabel() == axis.label
