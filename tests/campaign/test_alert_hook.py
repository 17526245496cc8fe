"""The plan's hook, a real program: what it is told, and what is said if it fails."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.alert_hook import run_hook
from megatron_lrps.plan.keys.alerts import Alerts

HOOK = """\
#!{python}
import json, os, sys
told = json.load(sys.stdin)
told["environment"] = {{key: value for key, value in os.environ.items() if key.startswith("LRPS_ALERT_")}}
with open({file!r}, "a") as file:
    file.write(json.dumps(told) + "\\n")
"""


def script(folder: Path, text: str) -> Path:
    file = folder / "hook"
    file.write_text(text)
    file.chmod(0o755)
    return file


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


def test_a_hook_gets_the_facts_without_a_shell(tmp_path: Path) -> None:
    hook = script(tmp_path, HOOK.format(python=sys.executable, file=str(tmp_path / "told")))
    facts = {"kind": "loss_spike", "iteration": 7, "message": "$(touch it) `id`", "values": {"loss": 9.5}}
    assert run_hook([str(hook), "$HOME;"], facts, tmp_path, Alerts()) is None
    (one,) = told(tmp_path)
    environment = one.pop("environment")
    assert one == facts
    assert environment == {
        "LRPS_ALERT_KIND": "loss_spike",
        "LRPS_ALERT_ITERATION": "7",
        "LRPS_ALERT_MESSAGE": "$(touch it) `id`",
    }
    assert not (tmp_path / "it").exists()


def test_a_hooks_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    hook = script(tmp_path, "#!/bin/sh\necho the pager is off >&2\nexit 3\n")
    assert run_hook([str(hook)], {}, tmp_path, Alerts()) == f"alerts.hook {hook} ended with 3: the pager is off"
    silent = script(tmp_path, "#!/bin/sh\nexit 1\n")
    assert str(run_hook([str(silent)], {}, tmp_path, Alerts())).endswith("ended with 1: it said nothing")
    assert "could not be run" in str(run_hook([str(tmp_path / "none")], {}, tmp_path, Alerts()))


def test_a_hook_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    hook = script(tmp_path, f"#!/bin/sh\n(sleep 2; touch {tmp_path}/late) &\nsleep 600\n")
    failure = run_hook([str(hook)], {}, tmp_path, Alerts(hook_timeout=0.3))
    assert failure == f"alerts.hook {hook} was killed after 0.3 s"
    time.sleep(2.5)
    assert not (tmp_path / "late").exists()
