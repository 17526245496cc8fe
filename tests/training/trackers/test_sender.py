"""The thread of a tracker against a service that fails: a stand-in, since a real one cannot be broken at will."""

import threading
import time
from collections.abc import Sequence

import pytest

from megatron_lrps.training.trackers.sender import Figure, Sender, figure


class Service:
    """A tracker that can be out of reach."""

    label = "trackers.mlflow"

    def __init__(self) -> None:
        self.down = threading.Event()
        self.opened, self.ended = 0, ""
        self.got: list[tuple[str, int]] = []
        self.alerts: list[str] = []

    def open(self) -> None:
        self.opened += 1
        if self.down.is_set():
            raise ConnectionError("no route to mlflow.example.org\nmore")

    def send(self, figures: Sequence[Figure]) -> None:
        if self.down.is_set():
            raise ConnectionError("no route to mlflow.example.org")
        self.got += [(each.name, each.step) for each in figures]

    def alert(self, kind: str, title: str, text: str) -> None:
        self.alerts.append(f"{title}: {text}")

    def close(self, state: str) -> None:
        self.ended = state


def until(reached: object, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)
    assert reached()  # type: ignore[operator]


def test_nothing_is_lost_while_a_service_is_out_of_reach_and_it_is_said_once() -> None:
    service, said = Service(), list[str]()
    service.down.set()
    sender = Sender(service, said.append, pause=0.02, retry=0.02)
    for step in range(1, 2501):
        sender.add(Figure("lm loss", 1.0, step, 0.0))
    until(lambda: service.opened >= 3)
    service.down.clear()
    until(lambda: len(service.got) == 2500)
    service.down.set()
    sender.add(Figure("lm loss", 1.0, 2501, 0.0))
    until(lambda: len(said) == 2)
    service.down.clear()
    sender.alert("stall", "stall", "x")
    sender.end("finished")
    sender.settle(10)
    assert service.got == [("lm loss", step) for step in range(1, 2502)]
    assert (service.alerts, service.ended) == (["stall: x"], "finished")
    assert len(said) == 2
    assert said[0].startswith("trackers.mlflow could not be reached: no route to mlflow.example.org. Training goes on")


def test_what_was_not_sent_by_the_end_is_counted() -> None:
    service, said = Service(), list[str]()
    service.down.set()
    sender = Sender(service, said.append, pause=0.02, retry=60)
    sender.add(Figure("lm loss", 1.0, 1, 0.0))
    sender.end("stopped")
    sender.settle(10)
    assert said[-1] == "trackers.mlflow: 1 figures were not sent; TensorBoard has all figures"


@pytest.mark.parametrize("name", ["lm loss vs samples", "samples vs steps"])
def test_a_figure_is_of_an_iteration(name: str) -> None:
    assert figure(name, 2.5, 40) is None
    assert figure("lm loss", 2.5, None) is None
    seen = figure("lm loss", 2.5, 40)
    assert seen is not None
    assert seen[:3] == ("lm loss", 2.5, 40)
