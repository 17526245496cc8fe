#!/usr/bin/env python3
"""Send an alert to a webhook: all its facts as JSON, or with --slack a message for Slack, Mattermost or Rocket.Chat.

The address is a secret, and so it is in no plan. It is in a file that only you can read, or in LRPS_WEBHOOK_URL; a job
on Slurm gets that from `launch.slurm.site`. In a plan:

    alerts: {hook: [examples/hooks/webhook.py, --slack, --url-file, ~/.lrps-webhook]}
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ATTEMPTS = 3
TIMEOUT_S = 7
"""Three attempts end before the plan's `alerts.hook_timeout`."""


def main() -> int:
    """Read an alert from standard input, and post it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slack", action="store_true", help="send a text for people")
    parser.add_argument("--url-file", type=Path, help="the file with the address; by default LRPS_WEBHOOK_URL has it")
    given = parser.parse_args()
    url = given.url_file.expanduser().read_text() if given.url_file else os.environ.get("LRPS_WEBHOOK_URL", "")
    if not url.strip():
        print("no address: give --url-file FILE, or set LRPS_WEBHOOK_URL", file=sys.stderr)
        return 1
    alert = json.load(sys.stdin)
    where = f"{alert['campaign']} {alert['path']} at iteration {alert['iteration']}"
    body = {"text": f":rotating_light: *{where}*\n{_plain(alert['message'])}"} if given.slack else alert
    request = urllib.request.Request(
        url.strip(), json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"}
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return 0
        except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            if refused or attempt == ATTEMPTS:
                print(f"the webhook failed: {error}", file=sys.stderr)  # the error does not hold the address
                return 1
            time.sleep(attempt)
    return 1


def _plain(text: str) -> str:
    """Return a text in which Slack sees no links and no mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    sys.exit(main())
