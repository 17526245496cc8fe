"""The number of samples in each iteration, and with it the way from iterations to samples and back.

Positions are samples, and plans, checkpoints and logs count iterations. With one global batch the two differ by a
factor. With a batch that rises (``--rampup-batch-size``, ``--step-batch-size-schedule``) they differ by a function that
rises in straight stretches, and it is the same for all paths of a campaign: an iteration has the batch that belongs to
the samples consumed before it, as in Megatron's own calculator of micro-batches.
"""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple


class Stretch(NamedTuple):
    """Iterations of one batch.

    Attributes:
        iteration: The iteration after which they begin.
        sample: The samples consumed until then.
        batch: The samples in each of them.
    """

    iteration: int
    sample: int
    batch: int


@dataclass(frozen=True)
class Batches:
    """The batch of every iteration, from the first on. Equal objects give equal batches.

    Args:
        stretches: The first at iteration 0; each later one has a larger batch, and begins where an iteration ends.
    """

    stretches: tuple[Stretch, ...]

    def __post_init__(self) -> None:
        if not self.stretches or self.stretches[0][:2] != (0, 0) or self.stretches[0].batch < 1:
            raise ValueError(f"batches begin with a batch of 1 or more at iteration 0, not with {self.stretches[:1]}")
        for before, after in pairwise(self.stretches):
            if after.batch <= before.batch:
                raise ValueError(f"the batch goes from {before.batch} to {after.batch}, and it may only rise")
            if after.iteration <= before.iteration or after.sample != _end(before, after.iteration):
                raise ValueError(f"a batch of {after.batch} does not begin where an iteration of {before.batch} ends")

    @classmethod
    def of(cls, batch: int, later: Iterable[tuple[int, int]] = ()) -> "Batches":
        """Return the batches that begin with ``batch``.

        Args:
            batch: The samples in the first iteration.
            later: (sample, batch) by rising sample: the batch of the iterations that begin at or after the sample.

        Raises:
            ValueError: a batch is below 1, or not above the one before it.
        """
        found = [Stretch(0, 0, batch)]
        before = (-1, batch)
        if batch < 1:
            raise ValueError(f"a batch of {batch} samples is no batch")
        for threshold, larger in later:
            if threshold <= before[0] or larger <= before[1]:
                raise ValueError(
                    f"the batch goes from {before[1]} to {larger} at sample {threshold:,}, and both must rise"
                )
            before = (threshold, larger)
            last = found[-1]
            iterations = max(0, -((last.sample - threshold) // last.batch))  # the last one may reach past the threshold
            begun = Stretch(last.iteration + iterations, last.sample + iterations * last.batch, larger)
            found[-1 if iterations == 0 else len(found) :] = [begun]
        return cls(tuple(found))

    @property
    def last(self) -> int:
        """The batch that stays: the global batch of a run whose batch does not rise."""
        return self.stretches[-1].batch

    @property
    def rises(self) -> bool:
        """Whether there is more than one batch."""
        return len(self.stretches) > 1

    @cached_property
    def _iterations(self) -> list[int]:
        return [each.iteration for each in self.stretches]

    @cached_property
    def _samples(self) -> list[int]:
        return [each.sample for each in self.stretches]

    def samples(self, iteration: int) -> int:
        """Return the samples consumed when ``iteration``, >= 0, has been trained."""
        return _end(self.stretches[bisect.bisect_right(self._iterations, iteration) - 1], iteration)

    def between(self, start: int, end: int) -> int:
        """Return the samples of the iterations (start, end]."""
        return self.samples(end) - self.samples(start)

    def batch_after(self, iteration: int) -> int:
        """Return the samples in the iteration that follows ``iteration``."""
        return self.stretches[bisect.bisect_right(self._iterations, iteration) - 1].batch

    def iteration(self, samples: int) -> int:
        """Return the last iteration that has ended when ``samples`` have been consumed."""
        at = self._at(samples)
        return at.iteration + (samples - at.sample) // at.batch

    def place(self, samples: float) -> float:
        """Return ``samples`` in iterations and parts of an iteration."""
        at = self._at(samples)
        return at.iteration + (samples - at.sample) / at.batch

    def nearest(self, start: int, length: float) -> int:
        """Return the end of an iteration that is nearest to ``start + length``.

        Args:
            start: The end of an iteration, in samples.
            length: Samples after it.
        """
        at = self._at(start + length)
        anchor = max(start, at.sample)
        return anchor + int((length - (anchor - start)) / at.batch + 0.5) * at.batch

    def rises_in(self, start: int, end: int) -> Stretch | None:
        """Return the first larger batch that begins inside the iterations (start, end], after one of them."""
        return next((each for each in self.stretches if start < each.iteration < end), None)

    def until(self, iteration: int) -> "Batches":
        """Return the batches of the first ``iteration`` iterations, at least one: equal ones mean an equal past."""
        return Batches(tuple(each for each in self.stretches if each.iteration < max(iteration, 1)))

    @property
    def words(self) -> str:
        """The batches in words: "8", or "2 (4 from iteration 11 on, 8 from iteration 31 on)"."""
        first, *later = self.stretches
        words = ", ".join(f"{each.batch} from iteration {each.iteration + 1} on" for each in later)
        return f"{first.batch} ({words})" if words else f"{first.batch}"

    def to_json(self) -> list[list[int]]:
        """Return [samples, batch] of each stretch."""
        return [[each.sample, each.batch] for each in self.stretches]

    @classmethod
    def from_json(cls, data: Iterable[tuple[int, int]]) -> "Batches":
        """Read the output of ``to_json``; raises ValueError or TypeError if it is something else."""
        (sample, batch), *later = data
        if sample != 0 or any(type(each) is not int for pair in ((sample, batch), *later) for each in pair):
            raise ValueError(f"batches begin at sample 0, and are whole numbers; this is {data}")
        return cls.of(batch, [(sample, batch) for sample, batch in later])

    def _at(self, samples: float) -> Stretch:
        return self.stretches[bisect.bisect_right(self._samples, samples) - 1]


def _end(stretch: Stretch, iteration: int) -> int:
    return stretch.sample + (iteration - stretch.iteration) * stretch.batch
