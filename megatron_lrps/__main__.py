"""``python -m megatron_lrps SCRIPT ...``: run any unmodified Megatron script with the plugin registered."""

import runpy
import sys
from pathlib import Path

from megatron_lrps.errors import RefusedError


def main() -> None:
    """Run the script named first on the command line as ``__main__``."""
    # The plugin's own switches may stand before the script: `python -m megatron_lrps --lrps-cpu SCRIPT ...`.
    first = next((index for index, word in enumerate(sys.argv[1:], 1) if not word.startswith("-")), None)
    if first is None or not Path(sys.argv[first]).is_file():
        refusal = RefusedError(
            f"The script {sys.argv[first]} is no file." if first else "No script is given.",
            "name it first: python -m megatron_lrps [--lrps-cpu] SCRIPT [FLAGS], e.g. python -m megatron_lrps "
            "pretrain_gpt.py --lrps-plan plan.yaml --lrps-path main.",
        )
        print(f"lrps: {refusal}", file=sys.stderr)
        sys.exit(refusal.exit_code)
    script = sys.argv.pop(first)
    sys.argv[0] = script
    # As `python SCRIPT` would: the script's own folder first, for its neighbours.
    sys.path.insert(0, str(Path(script).resolve().parent))
    from megatron_lrps.training.entry import launch

    def run_script() -> None:
        try:
            runpy.run_path(script, run_name="__main__")
        except SyntaxError as error:
            if error.filename != script:
                raise
            raise RefusedError(
                f"The script {script} is no Python: line {error.lineno}: {error.msg}.", "fix it."
            ) from None

    launch(run_script)


if __name__ == "__main__":
    main()
