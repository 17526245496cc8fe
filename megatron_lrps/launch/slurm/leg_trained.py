"""Whether a path is trained to the iteration that its job was to reach; the scripts ask this when ranks have failed.

``python -m megatron_lrps.launch.slurm.leg_trained PLAN PATH UNTIL LINE`` ends with 0 if it is, else with 1. UNTIL is an
iteration, or 0 for the end of the path. LINE is the number of lines that its history had before the ranks started.
"""

import sys
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import end_is_kept
from megatron_lrps.errors import EXIT_DONE, EXIT_FAILED, LrpsError


def main(arguments: list[str]) -> int:
    """Return the exit code, and print a line if it is 0; the arguments are those above."""
    plan, name, until, line = arguments
    try:
        campaign = Campaign.open(Path(plan))
        path = campaign.path(name)
        iteration = int(until) or path.end
        if not end_is_kept(campaign, path, iteration, events(campaign.folder.path(name), after_line=int(line))):
            return EXIT_FAILED
    except LrpsError as error:
        print(f"lrps: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"lrps: {name} is trained to iteration {iteration}, and its checkpoint there whole", flush=True)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
