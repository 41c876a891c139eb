"""`budget-watchdog healthcheck` against servers of every temper."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from watchdog.cli import healthcheck

READY = {
    "ready": True,
    "armed": False,
    "arming": "dry run",
    "checks": [{"name": "account main", "ok": True, "detail": "swept 1 s ago"}],
}
NOT_READY = {
    "ready": False,
    "checks": [
        {"name": "rules", "ok": True, "detail": "loaded"},
        {"name": "account main", "ok": False, "detail": "credentials\nrefused\x1b[31m"},
    ],
}


@contextlib.contextmanager
def serving(
    pages: dict[str, tuple[int, str]], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[int]:
    """The port of a server with these pages."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(self.path, (404, "not here"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, *arguments: Any) -> None:
            pass

    with Server((host, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The verb as an engine runs it."""
    variables = {"HOME": str(folder), "PATH": "/usr/bin", "COLUMNS": "200", **environ}
    done = subprocess.run(
        [sys.executable, "-m", "watchdog", "healthcheck", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1 or done.returncode == 2
    return done


def test_alive_is_0_and_says_what_was_asked(tmp_path: Path) -> None:
    with serving({"/healthz": (200, "ok: paused until noon?"), "/readyz": (503, json.dumps(NOT_READY))}) as port:
        done = check(tmp_path, BUDGET_WATCHDOG_LISTEN=f"127.0.0.1:{port}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"http://127.0.0.1:{port}/healthz answered 200: paused until noon?\n"


def test_not_alive_is_1(tmp_path: Path) -> None:
    with serving({"/healthz": (503, "not working"), "/readyz": (200, json.dumps(READY))}) as port:
        done = check(tmp_path, BUDGET_WATCHDOG_LISTEN=f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == f"budget-watchdog: http://127.0.0.1:{port}/healthz answered 503\n"


def test_ready_names_what_does_not_hold(tmp_path: Path) -> None:
    with serving({"/healthz": (200, "ok"), "/readyz": (503, json.dumps(NOT_READY))}) as port:
        done = check(tmp_path, "--ready", BUDGET_WATCHDOG_LISTEN=f"127.0.0.1:{port}")
    assert done.returncode == 1
    # No line and no control sequence of a page gets out.
    assert done.stderr.endswith("/readyz answered 503: account main: credentials refused [31m\n")
    with serving({"/healthz": (503, ""), "/readyz": (200, json.dumps(READY))}) as port:
        done = check(tmp_path, "--ready", BUDGET_WATCHDOG_LISTEN=f"127.0.0.1:{port}")
        assert (done.returncode, done.stdout) == (0, f"http://127.0.0.1:{port}/readyz answered 200: dry run\n")


def test_every_address_is_asked_at_loopback(tmp_path: Path) -> None:
    with serving({"/healthz": (200, "ok")}) as port:
        done = check(tmp_path, BUDGET_WATCHDOG_LISTEN=f"0.0.0.0:{port}")
        # Linux would take 0.0.0.0 for it, other systems do not.
        assert (done.returncode, done.stdout) == (0, f"http://127.0.0.1:{port}/healthz answered 200\n")
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with serving({"/healthz": (200, "ok")}, host="::1") as port:
        assert check(tmp_path, BUDGET_WATCHDOG_LISTEN=f"[::]:{port}").returncode == 0


def test_the_configuration_says_where_unless_the_environment_does(tmp_path: Path) -> None:
    with serving({"/healthz": (200, "ok")}) as port:
        config = tmp_path / "budget-watchdog.yaml"
        config.write_text(f"listen: 127.0.0.1:{port}\n", encoding="utf-8")
        assert check(tmp_path).returncode == 0
        assert check(tmp_path, BUDGET_WATCHDOG_LISTEN="127.0.0.1:1").returncode == 1
        other = config.rename(tmp_path / "other.yaml")
        assert check(tmp_path, "--config", str(other)).returncode == 0
        assert check(tmp_path, BUDGET_WATCHDOG_CONFIG=str(other)).returncode == 0
        assert check(tmp_path, "--url", f"http://127.0.0.1:{port}/healthz").returncode == 0


def test_without_anything_it_is_the_default_address(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert "http://127.0.0.1:9877/healthz" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "listen", "said"),
    [
        (("--url", "nonsense"), "", "cannot ask 'nonsense'"),
        (("--url", "http://[::1"), "", "cannot ask"),
        (("--url", "ftp://127.0.0.1/x"), "", "cannot ask"),
        (("--url", "http://127.0.0.1/a b"), "", "cannot ask"),
        (("--url", "http://127.0.0.1/\r\nX: y"), "", "cannot ask"),
        (("--url", "http://127.0.0.1:99999/"), "", "cannot ask"),
        (("--url", "http://127.0.0.1/", "--ready"), "", "write /readyz there"),
        ((), "127.0.0.1:0", "any free port"),
        ((), "9877", "cannot ask"),
        (("--config", "missing.yaml"), "", "missing.yaml"),
    ],
)
def test_bad_usage_is_2(tmp_path: Path, arguments: tuple[str, ...], listen: str, said: str) -> None:
    done = check(tmp_path, *arguments, **({"BUDGET_WATCHDOG_LISTEN": listen} if listen else {}))
    assert done.returncode == 2
    assert said in done.stderr


def test_proxies_are_for_the_platforms(tmp_path: Path) -> None:
    with serving({"/healthz": (200, "ok")}) as port:
        proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"), "http://127.0.0.1:1")
        assert check(tmp_path, BUDGET_WATCHDOG_LISTEN=f"127.0.0.1:{port}", **proxy).returncode == 0


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    """It runs for as long as the container lives, in the container's memory."""
    with serving({"/healthz": (200, "ok")}) as port:
        code = (
            "import sys\nfrom watchdog.cli import main\nsys.argv[1:] = ['healthcheck']\n"
            "try: main()\nexcept SystemExit as end: code = end.code\n"
            "print(code, sorted({'yaml', 'pydantic', 'httpx', 'sqlalchemy', 'asyncio'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PATH": "/usr/bin", "BUDGET_WATCHDOG_LISTEN": f"127.0.0.1:{port}"},
            cwd=Path(healthcheck.__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.stdout.splitlines()[-1] == "0 []", done


class TestAsk:
    """Without a process around it."""

    @staticmethod
    def ask(port: int, timeout_s: float = 3.0) -> tuple[int, bytes]:
        return healthcheck.ask(healthcheck.urlsplit(f"http://127.0.0.1:{port}/healthz"), timeout_s=timeout_s)

    def test_nobody(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and not listening
            with pytest.raises(healthcheck.StartupError, match="does not answer: Connection refused"):
                self.ask(taken.getsockname()[1])

    def test_somebody_who_says_nothing(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as mute,
            pytest.raises(healthcheck.StartupError, match="nothing within"),
        ):
            self.ask(mute.getsockname()[1], timeout_s=0.1)

    def test_somebody_who_speaks_something_else(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:

            def answer() -> None:
                for _ in range(2):
                    connection, _ = other.accept()
                    with connection:
                        connection.recv(1024)
                        connection.sendall(b"220 mail.example.com ESMTP\r\n")

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            with pytest.raises(healthcheck.StartupError, match=r"that is not HTTP \(BadStatusLine\)"):
                self.ask(other.getsockname()[1])
            thread.join(5)

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
    def test_a_daemon_with_a_certificate(self, tmp_path: Path) -> None:
        """Whoever it is made out to."""
        make = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other.example.com"
        )
        subprocess.run(
            [*make.split(), "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        with serving({"/healthz": (200, "ok")}, context) as port:
            assert self.ask(port) == (200, b"ok")
