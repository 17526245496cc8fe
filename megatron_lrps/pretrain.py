"""``python -m megatron_lrps.pretrain ...``: GPT pretraining on Megatron with the plugin; the wheel ships no entry.

With a plan, ``--lrps-plan PLAN --lrps-path P`` is enough; any other Megatron flag may be added that does not
contradict it.
"""

from megatron_lrps.training.entry import launch


def main() -> None:
    """Train what ``sys.argv`` says; leaves with the exit codes of ``megatron_lrps.errors``."""
    launch(_train)


def _train() -> None:
    from megatron_lrps.training.megatron import gpt

    gpt.main()


if __name__ == "__main__":
    main()
