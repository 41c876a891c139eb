"""Marked secrets in every place that has some, and a search for them in everything that leaves the program."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

#: Everything secret holds one of these; each is long enough to be told from anything else.
OLD, NEW, OTHER = "apify_api_OldMark7Q1", "apify_api_NewMark7Q2", "lobstrOtherMark7Q3"
ADMIN_OLD, ADMIN_NEW = "admin-Mark7Q4/+=", "admin-Mark7Q5/+="
PROXY, WIKI = "proxy:Mark7Q6@7Q6", "Mark7Q7"
SECRETS = (OLD, NEW, OTHER, ADMIN_OLD, ADMIN_NEW, PROXY, WIKI)
WIKI_URL = f"https://reader:{WIKI}@wiki.example/why"


def forms(secret: str) -> set[bytes]:
    """Plain, percent, base64 (at any place within something longer), and reversed letters of either case."""
    found = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    raw = secret.encode()
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        found.add(text[4:-2])
    return {each.encode() for each in found}


def assert_clean(what: str, data: bytes) -> None:
    lower = data.lower()
    for secret in SECRETS:
        for form in forms(secret):
            assert form.lower() not in lower, f"{secret} as {form!r} in {what}: {around(data, form)!r}"


def around(data: bytes, form: bytes) -> bytes:
    at = data.lower().find(form.lower())
    return data[max(0, at - 200) : at + 100]


class Proxy:
    """Refuses everything, and says loudly whom: what it was told stands in its status line and its body."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with contextlib.suppress(OSError), client:
                    head = client.recv(65536)
                    self.heads.append(head)
                    said = b" ".join(line for line in head.split(b"\r\n")[1:] if line)
                    user = b"http://" + PROXY.encode() + b"@127.0.0.1"
                    body = b"<html>" + said + b" " + user
                    answer = b"HTTP/1.1 407 Not " + said + b" " + user + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
                    client.sendall(answer + body)

    def close(self) -> None:
        self._listener.close()


class Manager:
    """What systemd is told."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def told(self) -> bytes:
        said = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                said += self._socket.recv(65536) + b"\n"
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def configure(site: Any) -> None:
    site.apify.token = OLD
    for name, token in (("main.token", OLD), ("admin.token", ADMIN_OLD)):
        (site.folder / name).write_text(token + "\n")
        (site.folder / name).chmod(0o600)
    accounts = [
        {"name": "main", "platform": "apify", "token_file": "main.token", "base_url": site.sim.url},
        {"name": "behind", "platform": "lobstr", "token_env": "L", "base_url": "https://platform.invalid"},
        {"name": "plain", "platform": "apify", "token_env": "B", "base_url": "http://platform.invalid"},
    ]
    for account in accounts:
        account["poll_interval"] = "1s"
    rules = [
        {"name": "cap", "match": {"account": "main"}, "limits": {"max_cost_usd": 1.0}},
        {"name": WIKI_URL, "match": {"account": "main"}, "limits": {"max_cost_usd": 5000.0}},
    ]
    protect = [{"match": {"run_id": "nobody"}, "reason": f"see {WIKI_URL}"}]
    site.write("rules/rules.yaml", json.dumps({"rules": rules, "protect": protect}))
    site.write(
        "budget-watchdog.yaml",
        json.dumps(
            {
                "accounts": accounts,
                "listen": f"127.0.0.1:{site.port}",
                "ledger": f"sqlite:///{site.folder}/ledger.db",
                "web": {"token_file": "admin.token"},
            }
        ),
    )


def reload_by(site: Any, token: str) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}/-/reload", method="POST", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.read()


def environ_of(proxy: Proxy, **more: str) -> dict[str, str]:
    address = f"http://{quote(PROXY.partition(':')[0])}:{PROXY.partition(':')[2]}@127.0.0.1:{proxy.port}"
    return {"L": OTHER, "B": OTHER, "HTTPS_PROXY": address, "HTTP_PROXY": address, "http_proxy": address, **more}


def test_no_secret_leaves(site: Any, proxy: Proxy, manager: Manager, wait_for: Any) -> None:
    configure(site)
    environ = environ_of(proxy)
    outputs: dict[str, bytes] = {}
    with site.daemon("--log-level", "debug", **environ, NOTIFY_SOCKET=str(manager.path)) as daemon:
        wait_for(lambda: daemon.checks().get("account main"), "the account that can be reached")
        wait_for(lambda: daemon.logged("sweep failed"), "those behind the proxy")
        over = site.apify.start_run(usd_per_hour=36_000)
        by_hand = site.apify.start_run(usd_per_hour=0.01)
        wait_for(lambda: over.truth().aborted_by_api, "the abort")
        for words in (
            ("abort", by_hand.id, "--account", "main", "--reason", f"see {WIKI_URL}"),
            ("hold", "run-that-nobody-has", "--for", "1h", "--reason", f"see {WIKI_URL}"),
            ("holds",),
            ("history", "--json"),
            ("history",),
            ("check",),
            ("check", "--online"),
            ("check", "--online", "--json"),
            ("once", "--dry-run"),
            ("healthcheck",),
            ("healthcheck", "--ready"),
            ("run",),
        ):
            done = site.call(*words, **environ)
            outputs[" ".join(words)] = (done.stdout + done.stderr).encode()
        (site.folder / "main.token").write_text(NEW + "\n")
        (site.folder / "admin.token").write_text(ADMIN_NEW + "\n")
        site.apify.token = NEW
        outputs["reload"] = reload_by(site, ADMIN_OLD) + reload_by(site, ADMIN_OLD) + reload_by(site, ADMIN_NEW)
        wait_for(lambda: daemon.logged("token replaced, the new one is used"), "the new token")
        site.fault(
            "status",
            "list",
            status=403,
            body=json.dumps({"error": {"type": OLD, "message": f"{NEW} {WIKI_URL}"}}).encode(),
        )
        wait_for(lambda: not daemon.checks().get("account main"), "a refusal that repeats the tokens")
        for page in ("/metrics", "/readyz", "/healthz", "/"):
            outputs[page] = daemon.get(page)[1].encode()
        wait_for(lambda: by_hand.status_message, "the reason on the run")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        outputs["the log"] = daemon.output().encode()
        outputs["systemd"] = manager.told()
        outputs["the run"] = f"{over.status_message} {by_hand.status_message}".encode()
        outputs["the rule"] = outputs["/metrics"]
    for name, data in outputs.items():
        assert_clean(name, data)
    for path in site.folder.rglob("*"):
        if path.is_file() and path.name not in ("main.token", "admin.token", "rules.yaml", "log"):
            assert_clean(path.name, path.read_bytes())
    # The search was not for what nobody could have said.
    assert any(PROXY_HEADER in head for head in proxy.heads), "the proxy was told"
    assert b"the proxy does not let us through" in outputs["/readyz"]
    assert b"wiki.example" in outputs["the run"]
    assert b"***@wiki.example" in outputs["/metrics"]


PROXY_HEADER = base64.b64encode(PROXY.encode())


@pytest.mark.parametrize(
    "address",
    [f"http://{PROXY}@[", f"http://{PROXY}@host:port", f"{PROXY}@127.0.0.1:1", f"socks5://{PROXY}@127.0.0.1:1"],
)
def test_a_proxy_that_cannot_be_used_keeps_its_password(
    site: Any, manager: Manager, wait_for: Any, address: str
) -> None:
    site.configure(apify_url="http://platform.invalid", lobstr_url="https://platform.invalid")
    environ = {"HTTPS_PROXY": address, "HTTP_PROXY": address, "http_proxy": address}
    with site.daemon(**environ, NOTIFY_SOCKET=str(manager.path)) as daemon:
        wait_for(lambda: "no account could be swept yet" in daemon.output(), "the error")
        outputs = {page: daemon.get(page)[1].encode() for page in ("/metrics", "/readyz", "/healthz", "/")}
        assert daemon.end()[0] == 0
        outputs |= {"the log": daemon.output().encode(), "systemd": manager.told()}
    for name, data in outputs.items():
        assert_clean(name, data)
    online = site.call("check", "--online", **environ)
    assert_clean("check", (online.stdout + online.stderr).encode())


@pytest.mark.parametrize("secret", [PROXY.partition(":")[2], "p@ss/w#rd Mark7Q8"])
def test_the_password_of_a_database(site: Any, secret: str) -> None:
    address = f"postgresql://user:{secret}@db.example/ledger"
    for words in (("check",), ("run",), ("history",), ("history", "--ledger", address)):
        done = site.call(*words, BUDGET_WATCHDOG_LEDGER=address)
        assert done.returncode in (1, 2)
        assert secret not in done.stdout + done.stderr
