"""The order in which a path reads the samples of the timeline, computed without a table.

A shuffled order is a keyed permutation (a Feistel network with cycle walking, as in format-preserving
encryption: Black and Rogaway 2002), so a position costs the same whatever the length, and start-up costs
nothing: a table for 10^9 samples would take 8 GiB on every rank.
"""

from dataclasses import dataclass

_ROUNDS = 6
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Chained:
    """The timeline in its own order."""

    length: int

    def sample(self, position: int) -> int:
        """The sample read at ``position``: itself."""
        return position


@dataclass(frozen=True)
class Mixed:
    """All samples of the timeline once each, shuffled.

    Args:
        length: The number of samples.
        seed: The seed; each gives an order of its own.
    """

    length: int
    seed: int

    def sample(self, position: int) -> int:
        """The sample read at ``position``, 0 <= position < length; a bijection."""
        half = max(1, ((self.length - 1).bit_length() + 1) // 2)
        value = position
        while True:  # at most 4 x the length is permuted, so this takes 4 turns on average at worst
            value = self._permute(value, half)
            if value < self.length:
                return value

    def _permute(self, value: int, half: int) -> int:
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mixed(right, self.seed * _ROUNDS + turn) & mask)
        return left << half | right


def replay_seed(seed: int, place: int) -> int:
    """Return Megatron's random seed for what a window replays; each window has one of its own.

    With one seed for all, v2 and v3 would both replay the samples that v1's own window begins with.

    Args:
        seed: The campaign's seed.
        place: The window's index in the timeline, 1 <= place < 2^32.
    """
    return (seed + 0x9E3779B1 * place) % 2**32  # an odd factor: no two places share a seed


def _mixed(value: int, key: int) -> int:
    """SplitMix64's finalizer over value and key: every input bit changes half of the output bits."""
    bits = (value + 0x9E3779B97F4A7C15 * (key + 1)) & _MASK
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
    return bits ^ bits >> 31
