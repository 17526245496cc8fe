"""The annealing law: its areas by hand, and a fit that finds the law that made the losses."""

import numpy as np
import pytest

from megatron_lrps.monitor.annealing import Law, Pieces, Rates, fit

TRUE = Law(floor=2.0, scale=6.0, exponent=0.4, gain=0.002, momentum=0.99, residual=0.0)


def held(iterations: int) -> Rates:
    """Warm-up over 20 iterations, then the maximum."""
    shares = np.ones(iterations)
    shares[:20] = np.arange(20) / 20
    return Rates(shares, 20)


def decayed(fork: int, iterations: int) -> Rates:
    """The same, decaying linearly to a tenth after the fork."""
    tail = 1.0 - 0.9 * np.arange(iterations) / (iterations - 1)
    return Rates(np.concatenate((held(fork).shares, tail)), 20)


def part(name: str, rates: Rates, start: int, noise: float, *, law: Law = TRUE, mains: bool = False) -> Pieces:
    """Pieces of ten iterations after ``start``; noise, in nats a token, of each piece's mean."""
    edges = np.array([(at + 1, at + 10) for at in range(start, len(rates.shares), 10)])
    numbers = np.random.default_rng(len(edges))
    shared = numbers.normal(0, 0.2, len(edges)) if mains else 0.0  # how hard the samples are: main's too

    def means(of: Rates) -> np.ndarray:
        losses = law.losses(of)
        return np.array([losses[first - 1 : last].mean() for first, last in edges])

    losses = means(rates) + numbers.normal(0, noise, len(edges)) + shared
    if not mains:
        return Pieces(name, rates, edges, losses)
    main = held(len(rates.shares))
    return Pieces(name, rates, edges, losses, means(main) + shared, main)


def test_areas_by_hand() -> None:
    rates = Rates(np.array([0.0, 0.5, 1.0, 1.0, 0.6, 0.6]), 2)
    assert rates.forward == pytest.approx([0.0, 0.5, 1.5, 2.5, 3.1, 3.7])
    # The warm-up's rise is none; one fall of 0.4, which momentum keeps: m = 0.4, then 0.2.
    assert rates.annealing(0.5) == pytest.approx([0, 0, 0, 0, 0.4, 0.6])
    assert rates.annealing(0.0) == pytest.approx([0, 0, 0, 0, 0.4, 0.8 - 0.4])
    assert not held(100).annealing(0.99).any()


def test_the_law_by_hand() -> None:
    law = Law(floor=2.0, scale=4.0, exponent=0.5, gain=0.5, momentum=0.0, residual=0.0)
    losses = law.losses(Rates(np.array([1.0, 1.0, 1.0, 1.0, 0.6]), 0))
    assert losses[3] == pytest.approx(2.0 + 4.0 / 2.0)
    assert losses[4] == pytest.approx(2.0 + 4.0 / 4.6**0.5 - 0.5 * 0.4)


def test_without_noise_the_law_is_found() -> None:
    law = fit([part("main", held(2000), 200, 0.0), part("v1", decayed(800, 400), 800, 0.0)])
    assert law.momentum == 0.99
    assert (law.floor, law.scale) == (pytest.approx(2.0, abs=0.05), pytest.approx(6.0, abs=0.3))
    assert (law.exponent, law.gain) == (pytest.approx(0.4, abs=0.02), pytest.approx(0.002, rel=0.02))
    assert law.residual < 1e-3
    unseen = decayed(2400, 600)
    assert law.losses(unseen)[-1] == pytest.approx(TRUE.losses(unseen)[-1], abs=2e-3)


def test_with_noise_an_unseen_branch_is_predicted_to_a_seventh_of_what_annealing_gains() -> None:
    law = fit([part("main", held(2000), 200, 0.02), part("v1", decayed(800, 400), 800, 0.02)])
    unseen = decayed(2400, 600)
    gain = (TRUE.losses(held(3000)) - TRUE.losses(unseen))[-1]
    assert gain == pytest.approx(0.141, abs=1e-3)
    assert law.losses(unseen)[-1] == pytest.approx(TRUE.losses(unseen)[-1], abs=gain / 7)


def test_outliers_do_not_move_the_fit() -> None:
    main = part("main", held(2000), 200, 0.01)
    spoiled = main.losses.copy()
    spoiled[::20] += 5.0  # a twentieth of the pieces are spikes
    law = fit([Pieces("main", main.rates, main.edges, spoiled)])
    assert law.losses(held(2000))[-1] == pytest.approx(TRUE.losses(held(2000))[-1], abs=0.01)


def test_a_branch_beside_main_is_fitted_free_of_how_hard_its_samples_are() -> None:
    parts = [part("main", held(2000), 200, 0.01), part("v1", decayed(800, 400), 800, 0.01, mains=True)]
    law = fit(parts)
    annealed, kept = law.losses(decayed(800, 400))[-1], law.losses(held(1200))[-1]
    truth = TRUE.losses(held(1200))[-1] - TRUE.losses(decayed(800, 400))[-1]
    assert kept - annealed == pytest.approx(truth, abs=0.01)  # of 0.112; single pieces stray by 0.2


def test_a_constant_rate_leaves_the_gain_unknown() -> None:
    law = fit([part("main", held(2000), 200, 0.01)])
    assert (law.gain, law.momentum) == (None, None)
    branch = decayed(2000, 500)
    # What is left is the law without its last term: an upper bound.
    assert law.losses(branch)[-1] > TRUE.losses(branch)[-1] + 0.1
