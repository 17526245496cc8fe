"""A batch that rises, as Megatron's flags give it: ``--rampup-batch-size`` and ``--step-batch-size-schedule``. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.schedule.batches import Batches

RAMP, STEPS = "rampup-batch-size", "step-batch-size-schedule"
BATCH_FLAGS = (RAMP, STEPS)
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_STEP = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?):(\d+(?:\.\d+)?)([KMBT]?)\Z", re.IGNORECASE)


def batches_by_flags(flags: Mapping[str, Any], batch: int, length: int) -> Batches:
    """Return the batches of a plan.

    Args:
        flags: The plan's ``megatron``.
        batch: The plan's ``global_batch_size``, which the batch rises to.
        length: The tokens in a sample.

    Raises:
        PlanError: a flag is not as Megatron takes it, or does not rise to ``batch``.
    """
    ramp, steps = (flags.get(flag) for flag in BATCH_FLAGS)
    ramp, steps = (None if value is False else value for value in (ramp, steps))
    if ramp is None and steps is None:
        return Batches.of(batch)
    flag, value = (RAMP, ramp) if ramp is not None else (STEPS, steps)
    key = f"megatron.{flag}: {shown(value)}"
    if ramp is not None and steps is not None:
        raise PlanError(f"{key} is given beside {STEPS}.", "give one of the two.")
    try:
        found = _ramp(ramp, batch) if ramp is not None else _steps(str(steps), length)
    except ValueError as error:
        raise PlanError(f"{key}: {error}.", "correct it.") from None
    if found.last != batch:
        raise PlanError(
            f"{key} ends with a batch of {found.last}, and global_batch_size is {batch}.",
            f"set global_batch_size to {found.last}, or correct the flag.",
        )
    return found


def batches_by_arguments(args: Mapping[str, Any]) -> Batches | None:
    """Return the batches of a run by the arguments that its checkpoints hold; None if they do not say.

    Args:
        args: Megatron's arguments by destination. Releases that know ``step_batch_size_schedule`` ignore the ramp.
    """
    batch, length = args.get("global_batch_size"), args.get("seq_length")
    ramp, steps = args.get("rampup_batch_size"), args.get("step_batch_size_schedule")
    try:
        if steps is not None and length is not None:
            return _steps(str(steps), int(length))
        if ramp is not None and batch is not None and "step_batch_size_schedule" not in args:
            return _ramp(ramp, int(batch))
        return None if batch is None else Batches.of(int(batch))
    except ValueError:
        return None


def batch_flags(batches: Batches, length: int) -> dict[str, str | int]:
    """Return Megatron's flag for these batches: one global batch, or the steps, whose places are tokens.

    Args:
        batches: The batches of a campaign.
        length: The tokens in a sample of the path.
    """
    if not batches.rises:
        return {"global-batch-size": batches.last}
    return {STEPS: " ".join(f"{each.sample * length}:{each.batch}" for each in batches.stretches)}


def _ramp(ramp: Any, batch: int) -> Batches:
    """Return the batches of ``--rampup-batch-size START INCREMENT SAMPLES``, as Megatron 0.17 counts them."""
    if (
        not isinstance(ramp, list | tuple)
        or len(ramp) != 3
        or not all(re.fullmatch(r"\d+", str(each)) for each in ramp)
    ):
        raise ValueError("it is not three whole numbers: the first batch, the increment, and the samples of the ramp")
    start, increment, samples = (int(each) for each in ramp)
    if min(start, increment, samples) < 1 or start > batch or (batch - start) % increment:
        raise ValueError(f"the batch does not rise from {start} to global_batch_size {batch} in steps of {increment}")
    count = (batch - start) // increment
    if samples < count:
        raise ValueError(f"{samples} samples are fewer than its {count} steps")
    # Step k begins at the first sample that is k / count of the ramp or more.
    return Batches.of(start, [(-(-step * samples // count), start + step * increment) for step in range(1, count + 1)])


def _steps(text: str, length: int) -> Batches:
    """Return the batches of ``--step-batch-size-schedule "TOKENS:BATCH TOKENS:BATCH"``."""
    pairs = []
    for word in text.replace(",", " ").split():
        if (match := _STEP.match(word)) is None:
            raise ValueError(f"{word!r} is not TOKENS:BATCH, such as 250B:1536")
        place, place_unit, batch, batch_unit = match.groups()
        # Megatron's own arithmetic.
        tokens, size = (
            int(float(number) * _SIZES[unit.upper()]) for number, unit in ((place, place_unit), (batch, batch_unit))
        )
        pairs.append((tokens // length, size))
    pairs.sort(key=lambda pair: pair[0])
    if not pairs or pairs[0][0] != 0:
        raise ValueError("its first step is not at 0 tokens")
    return Batches.of(pairs[0][1], pairs[1:])
