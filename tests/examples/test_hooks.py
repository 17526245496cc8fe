"""The hooks in examples/hooks, run as a plan's ``alerts.hook``: against a real HTTP server, and a stand-in sendmail."""

import json
import sys
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.alert_hook import hook_facts, run_hook
from megatron_lrps.plan import parse_plan
from tests.plan.keys.test_alerts import PLAN

HOOKS = Path(__file__).parents[2] / "examples" / "hooks"
ALERT = {
    "kind": "loss_spike",
    "message": "loss_spike: 9.5 is > 8 sigma <above> & more",
    "values": {"loss": 9.5},
}


class Server(HTTPServer):
    """It answers with these codes, one after the other."""

    codes: list[int]
    got: list[dict[str, Any]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/s3cret"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append({"path": self.path, "type": self.headers["Content-Type"], "body": json.loads(body)})
        self.send_response(self.server.codes.pop(0))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.codes, server.got = [200], []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def run(folder: Path, *hook: str) -> str | None:
    """Raise the alert by a plan's hook; what went wrong."""
    plan = parse_plan(f"{PLAN}alerts: {{hook: {json.dumps([str(HOOKS / hook[0]), *hook[1:]])}}}\n", base=folder)
    return run_hook(plan.alerts.hook, hook_facts(plan, "main", 70, ALERT), folder, plan.alerts)


def test_a_webhook_gets_all_facts_as_json(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRPS_WEBHOOK_URL", server.url)
    server.codes = [503, 200]  # a server that restarts
    assert run(tmp_path, "webhook.py") is None
    assert len(server.got) == 2
    told = server.got[-1]
    assert (told["path"], told["type"]) == ("/hook/s3cret", "application/json; charset=utf-8")
    where = {"campaign": "demo", "path": "main", "iteration": 70, "save": str(tmp_path / "run")}
    assert told["body"] == {**ALERT, **where, "time": told["body"]["time"]}


def test_slack_gets_a_text_without_links_or_mentions(server: Server, tmp_path: Path) -> None:
    (tmp_path / "address").write_text(server.url + "\n")
    assert run(tmp_path, "webhook.py", "--slack", "--url-file", str(tmp_path / "address")) is None
    (told,) = server.got
    (text,) = told["body"].values()
    assert list(told["body"]) == ["text"]
    assert text.splitlines() == [
        ":rotating_light: *demo main at iteration 70*",
        "loss_spike: 9.5 is &gt; 8 sigma &lt;above&gt; &amp; more",
    ]


def test_a_webhook_that_refuses_is_asked_once_and_its_address_stays_secret(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRPS_WEBHOOK_URL", server.url)
    server.codes = [404]
    failed = run(tmp_path, "webhook.py")
    assert failed is not None
    assert failed.endswith("ended with 1: the webhook failed: HTTP Error 404: Not Found")
    assert len(server.got) == 1
    monkeypatch.delenv("LRPS_WEBHOOK_URL")
    assert "no address" in str(run(tmp_path, "webhook.py"))


def test_a_mail_goes_to_sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sendmail"
    program.write_text(f"#!{sys.executable}\nimport sys\n"
                       f"open({str(tmp_path / 'mail')!r}, 'wb').write(sys.stdin.buffer.read())\n"
                       f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:]))\n")  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    assert run(tmp_path, "sendmail.py", "ann@example.org", "bob@example.org", "--from", "lrps@example.org") is None
    assert (tmp_path / "words").read_text() == "-t -oi"
    mail = message_from_bytes((tmp_path / "mail").read_bytes(), policy=policy.default)
    assert (mail["To"], mail["From"]) == ("ann@example.org, bob@example.org", "lrps@example.org")
    assert mail["Subject"] == "[lrps] demo main: loss_spike at iteration 70"
    text = mail.get_content()
    assert text.startswith(f"{ALERT['message']}\n\n  loss: 9.5\n")
    assert str(tmp_path / "run") in text
    program.write_text("#!/bin/sh\necho the queue is full >&2\nexit 75\n")
    assert str(run(tmp_path, "sendmail.py", "ann@example.org")).endswith("ended with 75: the queue is full")
