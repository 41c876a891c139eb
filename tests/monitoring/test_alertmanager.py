"""A real Alertmanager with the shipped configuration delivers the alert of a stuck abort, and takes it back."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from watchdog.simulated import Fault

SHIPPED = Path(__file__).parents[2] / "monitoring" / "prometheus"
EXAMPLE = SHIPPED / "alertmanager.example.yml"


class Webhook:
    """Receives what Alertmanager sends, on loopback."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, dict[str, Any]]] = []
        """The receiver's path and the alert, in order."""
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.alerts += [(self.path, alert) for alert in message["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[Webhook]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def seen(self, path: str, status: str, **labels: str) -> list[dict[str, Any]]:
        """Alerts sent to this path with this status and these labels."""
        return [
            alert
            for sent_to, alert in self.alerts
            if sent_to == path and alert["status"] == status and labels.items() <= alert["labels"].items()
        ]


def hurried(example: str, webhook: str) -> str:
    """The shipped configuration with our webhook in place of the two example hosts, the name of the receiver as path,
    and without its patience. Routes, grouping and inhibition stay as they are."""
    config = yaml.safe_load(example)
    config["route"] |= {"group_wait": "100ms", "group_interval": "500ms"}
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            assert "example.com" in hook["url"]
            hook["url"] = f"{webhook}/{receiver['name']}"
    return yaml.safe_dump(config)


@pytest.fixture(scope="session")
def webhook(monitoring: Any, fresh_prometheus: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """Behind an Alertmanager that our Prometheus sends its alerts to."""
    program = monitoring.need("alertmanager", "prometheus-alertmanager")
    folder = tmp_path_factory.mktemp("alertmanager")
    address = fresh_prometheus.alertmanager
    with Webhook().listening() as webhook:
        (folder / "alertmanager.yml").write_text(hurried(EXAMPLE.read_text(), webhook.url), encoding="utf-8")
        command = [program, "--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]
        command += [f"--web.listen-address={address}"]
        with monitoring.running(command, folder / "log", cwd=folder) as process:
            ready = f"http://{address}/-/ready"
            monitoring.wait_for(lambda: process.poll() is not None or monitoring.get(ready), "Alertmanager")
            assert process.poll() is None, (folder / "log").read_text()
            yield webhook


def amtool(monitoring: Any, *arguments: str) -> str:
    """What amtool says, which must be content."""
    command = [str(monitoring.need("amtool")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_accepts_the_example(monitoring: Any) -> None:
    assert "SUCCESS" in amtool(monitoring, "check-config", str(EXAMPLE))


SEVERITIES = [("critical", "on-call"), ("warning", "channel"), ("info", "nobody")]


@pytest.mark.parametrize(("severity", "receiver"), SEVERITIES)
def test_each_severity_reaches_its_receiver(monitoring: Any, severity: str, receiver: str) -> None:
    routed = amtool(monitoring, "config", "routes", "test", f"--config.file={EXAMPLE}", f"severity={severity}")
    assert routed.split() == [receiver]


def test_what_is_inhibited_exists() -> None:
    """An alert that was renamed would no longer be silenced by its cause."""
    shipped = yaml.safe_load((SHIPPED / "rules" / "budget-watchdog.alerts.yaml").read_text())
    names = {rule["alert"] for group in shipped["groups"] for rule in group["rules"]}
    rules = yaml.safe_load(EXAMPLE.read_text())["inhibit_rules"]
    matchers = [matcher for rule in rules for matcher in (*rule["source_matchers"], *rule["target_matchers"])]
    named = {name for matcher in matchers for name in matcher.split("=")[1].strip('~"').split("|")}
    assert named
    assert named <= names


def test_a_stuck_abort_is_delivered_and_resolved(
    monitoring: Any, live_daemon: Any, fresh_prometheus: Any, webhook: Webhook
) -> None:
    """The platform answers the abort with 200, but the run goes on: two alerts, and both end once it is over."""
    wait_for = monitoring.wait_for
    wait_for(lambda: live_daemon.counted("aborts_unconfirmed") == 0, "the end of other aborts")
    webhook.alerts.clear()
    run = live_daemon.apify.start_run(live_daemon.apify.add_actor("acme", "stuck"), usd_per_hour=3600)
    fault = live_daemon.sim.faults.add(Fault(kind="abort_ignored", match="abort", run_id=run.id))
    where = {"job": "budget-watchdog", "instance": live_daemon.address, "severity": "critical"}
    stuck = where | {"alertname": "BudgetWatchdogAbortUnconfirmed", "platform": "apify", "account": "main"}
    over = where | {"alertname": "BudgetWatchdogOverLimitRunNotStopped", "rule": "stuck-cap", "limit": "max_cost_usd"}

    wait_for(lambda: webhook.seen("/on-call", "firing", **stuck), "the alert of the stuck abort")
    wait_for(lambda: webhook.seen("/on-call", "firing", **over), "the alert of the run that goes on")
    (alert, *_) = webhook.seen("/on-call", "firing", **stuck)
    assert "1 run(s) on account 'main' (apify) were asked to stop" in alert["annotations"]["description"]
    assert alert["annotations"]["runbook"] == "docs/runbooks.md#budgetwatchdogabortunconfirmed"
    assert not run.truth().ended

    # The fault is mended, and somebody stops the run in the console. The daemon sees that: its record says confirmed.
    fault.remove()
    live_daemon.apify.abort_in_console(run)
    wait_for(lambda: live_daemon.counted("aborts_total", rule="stuck-cap", outcome="confirmed") == 1, "the proof")
    wait_for(lambda: webhook.seen("/on-call", "resolved", **stuck), "the end of the alert of the stuck abort")
    wait_for(lambda: webhook.seen("/on-call", "resolved", **over), "the end of the alert of the run that went on")

    severities = {(path, alert["labels"]["severity"]) for path, alert in webhook.alerts}
    assert severities <= {("/on-call", "critical"), ("/channel", "warning")}
    assert webhook.seen("/channel", "firing", alertname="BudgetWatchdogUsageUnknown")
