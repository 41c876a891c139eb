"""The shipped units under a real systemd, set up by the very commands of docs/systemd.md, against simulated platforms.

One machine for all; each test starts from the service in good order, which the fixture `service` sees to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchdog.simulated import ApifyAccount, ApifyRun, Fault, SimulatedPlatforms

DOC = (Path(__file__).parents[2] / "docs" / "systemd.md").read_text()
UNIT = "budget-watchdog.service"
INSTANCE = "budget-watchdog@growth.service"
TOKEN = "apify_api_S3CRETofTheSystemdTests"
OTHER_TOKEN = "apify_api_S3CRETofTheInstance"
NEW_TOKEN = "apify_api_S3CRETthatTookItsPlace"
CONFIG = "/etc/budget-watchdog/config.yaml"
RULES = "/etc/budget-watchdog/rules/apify.yaml"
LEDGER = "/var/lib/budget-watchdog/ledger.db"
BY_SIGNAL = '"trigger": "signal"'
TYPED_IN = re.compile(r'systemd-ask-password -n "[^"]*"')

#: Only what makes the tests shorter: everything else is as shipped.
PATIENCE = "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\nRestartSec=500ms\n"


def commands(heading: str, number: int = 0) -> str:
    """A block of shell commands below a heading of the docs."""
    section = re.split(rf"^#+ {re.escape(heading)}$", DOC, maxsplit=1, flags=re.M)[1]
    return re.findall(r"```sh\n(.*?)```", section, flags=re.S)[number]


def drop_in(heading: str, number: int = 0) -> str:
    """A piece of a unit below a heading of the docs."""
    section = re.split(rf"^#+ {re.escape(heading)}$", DOC, maxsplit=1, flags=re.M)[1]
    return re.findall(r"```ini\n(.*?)```", section, flags=re.S)[number]


def rules(cap_usd: float = 1.0) -> str:
    """One rule."""
    return f"rules:\n  - name: cap\n    match: {{platform: apify}}\n    limits: {{max_cost_usd: {cap_usd}}}\n"


class Site:
    """The service on the machine, and the account that it watches."""

    def __init__(self, machine: Any, platforms: SimulatedPlatforms, pages: Any) -> None:
        self.machine = machine
        self.platforms = platforms
        self.pages = pages
        self.account = self._account(TOKEN)
        self.other = self._account(OTHER_TOKEN)

    def _account(self, token: str) -> ApifyAccount:
        account = self.platforms.apify(token)
        account.abort_takes_s, account.settle_seconds = 0.2, 1.0
        return account

    def follow(self, block: str, token: str = TOKEN, *, check: bool = True) -> Any:
        """Run commands of the docs as they stand there; a token is typed in."""
        block = TYPED_IN.sub(f"printf %s {token}", block)
        done = self.machine.run("bash", "-euo", "pipefail", "-c", block, check=False)
        assert not check or done.returncode == 0, f"{block}{done.stdout}{done.stderr}{self.journal()[-3000:]}"
        return done

    def configure(self, path: str = CONFIG) -> None:
        """What the example cannot know: where the platform is. And it is to be looked at more often."""
        text = (self.machine.root / path.lstrip("/")).read_text()
        text = text.replace("poll_interval: 5s", f"poll_interval: 1s\n    base_url: {self.platforms.url}")
        self.machine.write(path, text)

    def run_at(self, usd: float, account: ApifyAccount | None = None) -> ApifyRun:
        """A run that has cost so much, and costs no more."""
        return (account or self.account).start_run(curve=lambda ran_s: usd, graceful_takes=0.2)

    @contextlib.contextmanager
    def fault(self, kind: Any, match: str = "*", **details: Any) -> Iterator[None]:
        """Something goes wrong meanwhile."""
        armed = self.platforms.faults.add(Fault(kind=kind, match=match, **details))
        try:
            yield
        finally:
            armed.remove()

    def show(self, unit: str = UNIT) -> dict[str, str]:
        """Its properties."""
        found: dict[str, str] = self.machine.show(unit)
        return found

    @property
    def pid(self) -> int:
        """The main process, by our numbers."""
        return int(self.machine.host_pid(int(self.show()["MainPID"])))

    def journal(self, unit: str = UNIT) -> str:
        """All of it."""
        return str(self.machine.journal(unit))

    def records(self, path: str = LEDGER) -> list[tuple[str, str]]:
        """Run and state of every abort in the ledger."""
        done = self.machine.run("/opt/budget-watchdog/bin/python", "-c", _READ, path)
        return [(run, state) for run, state in json.loads(done.stdout)]


_READ = """
import json, sqlite3, sys
ledger = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(json.dumps(ledger.execute("SELECT run_id, state FROM aborts").fetchall()))
"""


@pytest.fixture(scope="module")
def site(machine: Any, platforms: SimulatedPlatforms, pages: Any) -> Site:
    """All that the docs say is to be done before the first start."""
    site = Site(machine, platforms, pages)
    site.follow(commands("Install", 1))
    site.follow(commands("Configure"))
    site.follow(commands("Tokens"))
    site.configure()
    machine.write(f"/etc/systemd/system/{UNIT}.d/patience.conf", PATIENCE)
    return site


@pytest.fixture
def service(site: Site, eventually: Callable[..., Any]) -> Iterator[Site]:
    """The service, active and ready, aborting, no run may cost a dollar. Started again only if need be."""
    config = (site.machine.root / CONFIG.lstrip("/")).read_text()
    site.machine.write(CONFIG, config.replace("dry_run: true", "dry_run: false"))
    site.machine.write(RULES, rules())
    if config.find("dry_run: true") >= 0 or not site.pages.ready():
        site.machine.systemctl("reset-failed", UNIT)
        site.machine.systemctl("restart", UNIT)
    else:
        site.machine.systemctl("reload", UNIT)
    eventually(site.pages.ready, lambda: f"readiness: {site.journal()[-3000:]}")
    yield site
    for run in site.account.runs:
        if run.is_active():
            site.account.finish(run, "SUCCEEDED")


def test_by_the_docs_it_starts_tells_how_it_stands_and_acts_when_told_to(
    site: Site, eventually: Callable[..., Any]
) -> None:
    tried = site.follow(commands("Try it"))
    assert "all in order" in tried.stdout
    over, within = site.run_at(60.0), site.run_at(0.5)
    shown = site.follow(commands("Start"))
    assert re.search(r"Active: active \(running\)", shown.stdout)
    assert re.search(
        r'Status: "dry run; watching 2 runs on 1 account; no aborts under way; last sweep \d+ s ago"', shown.stdout
    )
    assert '"ready":true' in site.follow(commands("Start", 1)).stdout.replace(" ", "")
    eventually(lambda: site.pages.counted("budget_watchdog_breaches_total", response="dry_run") == 1, "the breach")
    assert over.id in site.follow(commands("Start", 2)).stdout
    assert not over.abort_requests
    site.follow(commands("Start", 3))
    eventually(lambda: over.truth().aborted_by_api, "the abort")
    eventually(lambda: (over.id, "confirmed") in site.records(), "its record")
    assert not within.abort_requests
    assert site.machine.systemctl("is-enabled", UNIT) == "enabled"


def test_it_runs_as_a_user_of_its_own_and_keeps_the_ledger_to_itself(service: Site) -> None:
    status = Path(f"/proc/{service.pid}/status").read_text()
    uid = int(re.findall(r"^Uid:\s+(\d+)", status, re.M)[0])
    assert 61184 <= uid <= 65519  # systemd.exec(5), DynamicUser=
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    folder = service.machine.root / "var/lib/private/budget-watchdog"
    assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, uid)
    for name in ("ledger.db", "ledger.db-wal"):
        assert ((folder / name).stat().st_mode & 0o777, (folder / name).stat().st_uid) == (0o600, uid)
    # Of the process itself, not of a machine that it cannot see.
    assert abs(service.pages.counted("process_start_time_seconds") - time.time()) < 30


def test_the_status_stays_fresh_and_pings_keep_it_alive(service: Site, eventually: Callable[..., Any]) -> None:
    """For longer than the watchdog's patience, with a platform that does not answer meanwhile."""
    before = service.show()
    with service.fault("delay", "list", delay_s=7.0):
        time.sleep(6)
        found = service.show()
    same = ("MainPID", "NRestarts", "ActiveState")
    assert [found[key] for key in same] == [before[key] for key in same]
    assert found["WatchdogUSec"] == "3s"
    seen = re.fullmatch(
        r"armed; watching \d+ runs? on 1 account; no aborts under way; last sweep (\d+) s ago", found["StatusText"]
    )
    assert seen is not None, found["StatusText"]
    assert 3 <= int(seen[1]) <= 8
    eventually(lambda: re.search("last sweep [01] s ago", service.show()["StatusText"]), "the next sweeps")


def test_a_hang_is_ended_and_the_open_abort_taken_up(service: Site, eventually: Callable[..., Any]) -> None:
    before, restarts = len(service.records()), int(service.show()["NRestarts"])
    with service.fault("abort_ignored", "abort"):
        run = service.run_at(2.0)
        eventually(lambda: run.abort_requests, "the request")
        eventually(lambda: "1 abort under way" in service.show()["StatusText"], "the status")
        main, requests = service.show()["MainPID"], run.abort_requests
        os.kill(service.pid, signal.SIGSTOP)
        eventually(lambda: service.show()["MainPID"] not in (main, "0"), "the restart", 15.0)
    eventually(lambda: run.truth().aborted_by_api, lambda: f"the abort: {service.journal()[-3000:]}")
    eventually(lambda: (run.id, "confirmed") in service.records(), "its record")
    assert len(service.records()) == before + 1
    assert run.abort_requests > requests
    assert int(service.show()["NRestarts"]) == restarts + 1
    assert "Watchdog timeout" in service.journal()
    eventually(lambda: service.pages.counted("budget_watchdog_aborts_unconfirmed") == 0, "peace")


def test_a_reload_takes_a_changed_rule_and_leaves_the_process_alone(
    service: Site, eventually: Callable[..., Any]
) -> None:
    main, run = service.show()["MainPID"], service.run_at(0.8)
    eventually(lambda: service.pages.counted("budget_watchdog_runs_active") == 1, "the run")
    service.machine.write(RULES, rules(0.7))
    signals = service.journal().count(BY_SIGNAL)
    service.follow(commands("Reload"))
    # Rule files are watched, too; that is not what is tried here.
    eventually(lambda: service.journal().count(BY_SIGNAL) > signals, "the signal")
    eventually(lambda: (run.id, "confirmed") in service.records(), "the abort")
    found = service.show()
    assert (found["MainPID"], found["ActiveState"], found["SubState"]) == (main, "active", "running")


def test_a_reload_of_mistakes_fails_shows_them_and_keeps_the_last_good_rules(
    service: Site, eventually: Callable[..., Any]
) -> None:
    main = service.show()["MainPID"]
    service.machine.write(RULES, rules().replace("max_cost_usd", "max_costs"))
    assert service.machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
    mistake = f"{RULES}:4:14: rule 'cap'"
    assert mistake in service.follow(commands("Reload", 1)).stdout
    assert service.pages.counted("budget_watchdog_reload_success") == 0
    run = service.run_at(1.5)
    eventually(lambda: (run.id, "confirmed") in service.records(), "the abort by the old rule")
    found = service.show()
    assert (found["MainPID"], found["ActiveState"], found["SubState"]) == (main, "active", "running")
    service.machine.write(RULES, rules())
    service.follow(commands("Reload"))
    assert service.pages.counted("budget_watchdog_reload_success") == 1


def test_the_commands_of_every_day_work_beside_it(service: Site, eventually: Callable[..., Any]) -> None:
    main, run = service.show()["MainPID"], service.run_at(3.0)
    eventually(lambda: (run.id, "confirmed") in service.records(), "the abort")
    assert run.id in service.machine.run("budget-watchdog", "history", "--since", "7d", "--json").stdout
    held = service.account.start_run(curve=lambda ran_s: 0.5)
    service.machine.run("budget-watchdog", "hold", held.id, "--for", "2h")
    service.follow(commands("Backup"))
    assert (run.id, "confirmed") in service.records("/var/backups/budget-watchdog.db")
    assert service.show()["MainPID"] == main


def test_the_token_is_nowhere_to_be_read(service: Site) -> None:
    process = Path(f"/proc/{service.pid}")
    for name in ("environ", "cmdline", "status", "comm"):
        assert TOKEN.encode() not in (process / name).read_bytes(), name
    assert TOKEN not in service.machine.systemctl("show", UNIT)
    assert TOKEN not in service.machine.systemctl("status", UNIT)
    assert TOKEN not in service.machine.run("journalctl", "--no-pager", "-o", "export").stdout
    for page in ("/metrics", "/readyz"):
        assert TOKEN not in service.pages.get(page)[1]
    for file in (service.machine.root / "var/lib/private/budget-watchdog").iterdir():
        assert TOKEN.encode() not in file.read_bytes(), file.name
    others = service.machine.run("setpriv", "--reuid=65534", "--clear-groups", "cat", _CREDENTIAL, check=False)
    assert (others.stdout, "Permission denied" in others.stderr) == ("", True)


_CREDENTIAL = f"/run/credentials/{UNIT}/apify"


def test_a_stop_with_an_abort_under_way_is_clean_and_quick(service: Site, eventually: Callable[..., Any]) -> None:
    with service.fault("abort_ignored", "abort"):
        run = service.run_at(2.0)
        eventually(lambda: run.abort_requests, "the request")
        began = time.monotonic()
        service.machine.systemctl("stop", UNIT)
        took_s = time.monotonic() - began
    found = service.show()
    assert (found["ActiveState"], found["Result"], found["ExecMainStatus"]) == ("inactive", "success", "0")
    assert found["StatusText"] == "stopped"
    assert took_s < 5
    assert (run.id, "requested") in service.records()


def test_a_mistake_in_the_configuration_does_not_loop(service: Site) -> None:
    good = (service.machine.root / CONFIG.lstrip("/")).read_text()
    service.machine.write(CONFIG, good + "listne: 127.0.0.1:1\n")
    assert service.machine.run("systemctl", "restart", UNIT, check=False).returncode != 0
    time.sleep(1.5)  # more than RestartSec
    found = service.show()
    service.machine.write(CONFIG, good)
    assert (found["ActiveState"], found["Result"], found["ExecMainStatus"]) == ("failed", "exit-code", "2")
    assert found["NRestarts"] == "0"
    assert re.search(rf"^{CONFIG}:\d+:1: unknown key 'listne'", found["StatusText"])
    assert found["StatusText"] in service.machine.run("systemctl", "status", UNIT, check=False).stdout


def test_what_may_get_better_is_tried_again(service: Site, eventually: Callable[..., Any]) -> None:
    """The platform fails at the start. That holds up neither the start nor who waits for it."""
    with service.fault("status", status=500):
        service.machine.systemctl("restart", UNIT)
        found = service.show()
        assert found["ActiveState"] == "active"
        assert "cannot sweep" in found["StatusText"]
    eventually(service.pages.ready, "the recovery", 90.0)
    assert service.show()["MainPID"] == found["MainPID"]


def test_an_encrypted_credential(service: Site, eventually: Callable[..., Any]) -> None:
    """Last for the one service: the plain file is gone after it."""
    service.follow(commands("Encrypted"))
    assert not (service.machine.root / "etc/credstore/budget-watchdog.apify").exists()
    service.machine.write(f"/etc/systemd/system/{UNIT}.d/encrypted.conf", drop_in("Encrypted"))
    service.machine.systemctl("daemon-reload")
    service.machine.systemctl("restart", UNIT)
    eventually(service.pages.ready, "readiness")
    encrypted = service.machine.root / "etc/credstore.encrypted/budget-watchdog.apify"
    assert TOKEN.encode() not in encrypted.read_bytes()


def test_a_new_credential_comes_with_a_reload_of_systemd_252_and_with_any_restart(
    service: Site, eventually: Callable[..., Any]
) -> None:
    """systemd copies credentials when it starts a process of the unit, which no change of the file makes it do. 252
    does so for the second command of a reload, too, into the folder that the daemon sees."""
    (service.machine.root / f"etc/systemd/system/{UNIT}.d/encrypted.conf").unlink(missing_ok=True)
    service.machine.systemctl("daemon-reload")
    service.follow(commands("Tokens"))
    service.machine.systemctl("restart", UNIT)
    service.follow(commands("Tokens"), NEW_TOKEN)
    service.account.token = NEW_TOKEN
    eventually(lambda: not service.pages.ready(), "a refusal")
    version = service.machine.systemctl("--version").split()[1]
    if version == "252":
        service.follow(commands("A new token"))
        eventually(service.pages.ready, lambda: service.journal()[-3000:])
        assert "token replaced, the new one is used" in service.journal()
    service.account.token = TOKEN
    service.follow(commands("Tokens"))
    service.follow(commands("A new token", 1))
    eventually(service.pages.ready, lambda: service.journal()[-3000:])


def test_a_token_file_is_read_again(service: Site, eventually: Callable[..., Any]) -> None:
    """By a user without a name, by the group that the docs give it."""
    service.account.token = TOKEN
    block = commands("A new token", 2)
    service.follow(block)
    config = (service.machine.root / CONFIG.lstrip("/")).read_text()
    with_file = "platform: apify\n    token_file: /etc/budget-watchdog/tokens/apify"
    service.machine.write(CONFIG, config.replace("platform: apify", with_file, 1))
    service.machine.systemctl("restart", UNIT)
    eventually(service.pages.ready, lambda: service.journal()[-3000:])
    write = block[block.index("systemd-ask-password") : block.index("install -d /etc/systemd")]
    service.follow(write, NEW_TOKEN)
    service.account.token = NEW_TOKEN
    eventually(lambda: "token replaced, the new one is used" in service.journal(), "the new token")
    run = service.run_at(60.0)
    eventually(lambda: run.truth().aborted_by_api, "an abort with the new token")
    assert "other users of this machine" not in service.journal()
    assert NEW_TOKEN not in service.journal()


def test_an_instance_has_everything_of_its_own(service: Site, pages_on: Any, eventually: Callable[..., Any]) -> None:
    block = commands("Several instances")
    start = block.index("systemctl enable")
    service.follow(block[:start], OTHER_TOKEN)
    service.configure("/etc/budget-watchdog/growth/config.yaml")
    service.machine.write("/etc/budget-watchdog/growth/rules/apify.yaml", rules(0.1))
    service.machine.run("sed", "-i", "s/dry_run: true/dry_run: false/", "/etc/budget-watchdog/growth/config.yaml")
    run, not_its_own = service.run_at(0.5, service.other), service.run_at(0.5)
    service.follow(block[start:])
    pages = pages_on(9878)
    eventually(pages.ready, lambda: service.journal(INSTANCE))
    ledger = "/var/lib/budget-watchdog-growth/ledger.db"
    eventually(lambda: service.records(ledger) == [(run.id, "confirmed")], "the abort")
    assert not not_its_own.abort_requests
    history = ["budget-watchdog", "history", "-c", "/etc/budget-watchdog/growth/config.yaml", "--json"]
    assert run.id in service.machine.run(*history).stdout
    service.machine.systemctl("stop", INSTANCE)
    assert service.show(INSTANCE)["Result"] == "success"


def test_uninstalled_it_is_gone(site: Site) -> None:
    site.machine.systemctl("disable", "--now", INSTANCE, check=False)
    site.follow(commands("Uninstall"))
    site.follow(commands("Uninstall", 1))
    assert site.show()["LoadState"] == "not-found"
    left = site.machine.run("sh", "-c", "ls -d /etc/*/budget-watchdog* /etc/systemd/system/*budget* || true").stdout
    assert left == ""
    assert re.fullmatch(
        r"(/var/lib/\S*budget-watchdog-growth\n?)*",
        site.machine.run("sh", "-c", "ls -d /var/lib/budget-watchdog* /var/lib/private/* || true").stdout,
    )
