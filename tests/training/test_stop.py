"""Why a run stops early, and the exit code of each reason."""

import pytest

from megatron_lrps.training.stop import Stop


@pytest.mark.parametrize(
    ("iteration", "requested", "signalled", "interval", "reason", "code"),
    [
        (6, False, False, None, "until", 0),
        (6, True, True, 3, "until", 0),  # the end of a part is reached, whatever else came at the same time
        (5, True, True, 5, "request", 75),
        (5, False, True, 5, "signal", 75),
        (5, False, False, 5, "interval", 75),
        (5, False, False, 3, "duration", 75),
        (5, False, False, None, "duration", 75),
    ],
)
def test_a_stop_has_one_reason(
    iteration: int, requested: bool, signalled: bool, interval: int | None, reason: str, code: int
) -> None:
    stop = Stop.at(iteration, until=6, requested=requested, signalled=signalled, interval=interval)
    assert (stop.reason, stop.iteration, stop.exit_code) == (reason, iteration, code)
