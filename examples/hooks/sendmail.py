#!/usr/bin/env python3
"""Mail an alert by this node's `sendmail` (Postfix, Exim, msmtp and others bring one).

In a plan:

    alerts: {hook: [examples/hooks/sendmail.py, oncall@example.org, --from, lrps@example.org]}
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from email.message import EmailMessage

TIMEOUT_S = 25
"""Less than the plan's `alerts.hook_timeout`."""


def main() -> int:
    """Read an alert from standard input, and hand a mail over to `sendmail`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to", nargs="+", help="who gets the mail")
    parser.add_argument("--from", dest="sender", help="who it is from; by default whom sendmail puts there")
    given = parser.parse_args()
    # A job's PATH seldom has it.
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib"])
    program = shutil.which("sendmail", path=places)
    if program is None:
        print(f"{os.uname().nodename} has no sendmail; install one such as msmtp-mta", file=sys.stderr)
        return 1
    alert = json.load(sys.stdin)
    mail = EmailMessage()
    mail["To"] = ", ".join(given.to)
    if given.sender:
        mail["From"] = given.sender
    mail["Subject"] = f"[lrps] {alert['campaign']} {alert['path']}: {alert['kind']} at iteration {alert['iteration']}"
    values = "".join(f"  {key}: {value}\n" for key, value in alert["values"].items())
    mail.set_content(f"{alert['message']}\n\n{values}\n{alert['time']}\n{alert['save']}\n")
    # -t: the addresses stand in the mail; -oi: a line with a dot alone does not end it.
    done = subprocess.run([program, "-t", "-oi"], input=mail.as_bytes(), check=False, timeout=TIMEOUT_S)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
