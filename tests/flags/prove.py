"""Tries every flag of Megatron on real ranks and writes which are proved: ``python -m tests.flags.prove``.

A flag is proved if `lrps plan` passes it, main trains with it, and the version that forks off main begins with main's
loss. They are tried six at a time, and a group that fails is cut in halves; a group of flags that are to change the
model, the loss or the update must also change the losses. Flags without a value to try are not proved.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.proved_flags import TABLE, proved
from tests.flags.trial import BASE, FailedTrialError, refused_by_plan, trained, write_trial
from tests.flags.values import BESIDE, RANKS, tried, value_of
from tests.plan.test_megatron_arguments import SEEN_IN_MEGATRONS_TESTS

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "flags.json"
_WITH_EFFECT = ("model", "size", "loss", "update")
_TOGETHER = 6
_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_COMMON = frozenset(SEEN_IN_MEGATRONS_TESTS.split())

Outcome = dict[str, str]
"""``outcome`` (proved, refused by the plan, refused by a rank, failed, without effect) and what was said."""


class Prover:
    """Tries flags until the time is over, and keeps what came of each.

    Args:
        folder: For the campaigns.
        seconds: After which no trial is begun.
        known: Flag -> outcome of earlier runs; these are not tried again.
    """

    def __init__(self, folder: Path, seconds: float, known: dict[str, Outcome]) -> None:
        self.found = known
        self._folder = folder
        self._ends = time.monotonic() + seconds
        self._plain: dict[str, dict[int, float]] = {}

    def run(self) -> None:
        """Try what has no outcome yet."""
        for in_class, flags in _groups():
            left = [flag for flag in flags if flag not in self.found]
            left = [flag for flag in left if not self._refused_by_plan(flag)]
            for first in range(0, len(left), _TOGETHER):
                self._try(left[first : first + _TOGETHER], effect=in_class in _WITH_EFFECT)

    def _refused_by_plan(self, flag: str) -> bool:
        flags = {**BESIDE.get(flag, {}), flag: value_of(flag)}
        refusal = refused_by_plan(write_trial(self._folder / "plan", flags, RANKS.get(flag, 1)))
        if refusal is not None:
            self._keep([flag], "refused by the plan", str(refusal))
        return refusal is not None

    def _try(self, flags: list[str], *, effect: bool) -> None:
        if time.monotonic() > self._ends:
            return
        beside = {key: value for flag in flags for key, value in BESIDE.get(flag, {}).items()}
        try:
            ranks = RANKS.get(flags[0], 1)
            losses = self._losses({**beside, **{flag: value_of(flag) for flag in flags}}, ranks)
        except (RefusedError, FailedTrialError) as error:
            if len(flags) > 1:
                half = len(flags) // 2
                self._try(flags[:half], effect=effect)
                self._try(flags[half:], effect=effect)
                return
            refused = isinstance(error, RefusedError)
            self._keep(flags, "refused by a rank" if refused else "failed", str(error))
            return
        if effect and losses == self._without(flags, beside):
            self._keep(flags, "without effect", "")
        else:
            self._keep(flags, "proved", "")

    def _without(self, flags: list[str], beside: dict[str, Any]) -> dict[int, float]:
        """Return the losses of what stands beside flags alone."""
        plain = {key: value for key, value in beside.items() if key not in flags}
        name = json.dumps(plain, sort_keys=True)
        if name not in self._plain:
            try:
                self._plain[name] = self._losses(plain, 1)
            except (RefusedError, FailedTrialError):
                self._plain[name] = {}
        return self._plain[name]

    def _losses(self, flags: dict[str, Any], ranks: int) -> dict[int, float]:
        return trained(write_trial(self._folder / "trial", flags, ranks), ranks)

    def _keep(self, flags: list[str], outcome: str, says: str) -> None:
        for flag in flags:
            self.found[flag] = {"outcome": outcome, "says": says.replace(str(self._folder), "FOLDER")}
            print(f"{outcome}: {flag} {says[:160]}", flush=True)


def _groups() -> Iterator[tuple[str, list[str]]]:
    """Yield the flags that may be tried together: of one class, ranks, and flags beside them.

    Those of the example plans come first, then those that Megatron's own tests set.
    """
    examples = {flag for file in _EXAMPLES.glob("*.yaml") for flag in yaml.safe_load(file.read_text())["megatron"]}
    groups: dict[tuple[int, str, int, str], list[str]] = {}
    for flag, argument in tried().items():
        if value_of(flag) is not None:
            rarity = 0 if flag in examples else 1 if flag in _COMMON else 2
            beside = json.dumps(BESIDE.get(flag, {}), sort_keys=True)
            groups.setdefault((rarity, argument.in_class, RANKS.get(flag, 1), beside), []).append(flag)
    for (_, in_class, _, _), flags in sorted(groups.items()):
        yield in_class, flags


def write(found: dict[str, Outcome]) -> None:
    """Write the results, and the table of proved flags that the package has: also those that every trial has."""
    RESULTS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
    values = {flag: value_of(flag) for flag in found if found[flag]["outcome"] == "proved"} | BASE
    lines = [f"{flag}\t{json.dumps(value)}" for flag, value in sorted(values.items())]
    TABLE.write_text("\n".join(["flag\ttried with", *lines]) + "\n", encoding="utf-8")


def main() -> None:
    """Try all flags, or with ``--new`` those without an outcome; exit with 1 if a proved flag is no more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--new", action="store_true", help="try only flags that have no outcome yet")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no trial after that time")
    given = parser.parse_args()
    before = proved() if TABLE.is_file() else frozenset()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if given.new and RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        prover = Prover(Path(folder), given.seconds, known)
        try:
            prover.run()
        finally:
            if given.new or given.seconds == float("inf"):
                write(prover.found)
    lost = sorted(flag for flag in before & set(prover.found) if prover.found[flag]["outcome"] != "proved")
    if lost:
        sys.exit(f"no longer proved: {', '.join(lost)}")


if __name__ == "__main__":
    main()
