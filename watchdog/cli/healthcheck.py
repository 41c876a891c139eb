"""`budget-watchdog healthcheck`: ask the daemon beside us whether it is well, for engines without curl.

It runs every few seconds for as long as a container lives, so nothing is imported that the question does not need.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import click

from watchdog.config import find_config, variable_of
from watchdog.errors import ConfigurationError, StartupError

#: Shorter than the time-outs that engines give a health check, so that it is our sentence that is seen.
TIMEOUT_S = 3.0
_MAX_BODY_BYTES = 1024 * 1024
#: Every address is one to listen on, but none to connect to.
_ONE_OF_ALL = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # never bound here


@click.command("healthcheck")
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help=f"Configuration file that says where the daemon listens, unless {variable_of('listen')} does.",
)
@click.option("--url", help="The page to ask instead, such as http://127.0.0.1:9877/healthz.")
@click.option("--ready", is_flag=True, help="Ask /readyz: is every account being watched right now?")
def command(config: Path | None, url: str | None, ready: bool) -> None:
    """Ask the running daemon whether it is well; exit code 0 if so, 1 if not, with one sentence either way.

    It asks /healthz, which is about the process alone: a platform that is down must not get the watchdog killed. With
    --ready it asks /readyz, which is also about the accounts.
    """
    if url and ready:
        raise click.UsageError("--ready is about the daemon's own address; with --url, write /readyz there.")
    page = url or f"http://{_own_address(config)}/{'readyz' if ready else 'healthz'}"
    status, body = ask(_checked(page))
    if status != 200:
        raise StartupError(f"{page} answered {status}{_reasons(body)}")
    click.echo(f"{page} answered {status}{_arming(body)}")


def ask(url: SplitResult, *, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
    """Status and body of a page, without the proxies of the environment, which are for the platforms.

    Raises StartupError if there is no answer. A daemon that is configured with a certificate is found out: what does
    not answer in the clear is asked again over TLS.
    """
    try:
        return _get(url, timeout_s)
    except (http.client.HTTPException, OSError) as error:
        if url.scheme == "http" and isinstance(error, http.client.HTTPException | ConnectionResetError):
            try:
                return _get(url._replace(scheme="https"), timeout_s)
            except (http.client.HTTPException, OSError):
                pass  # it is not TLS that is missing; the first error says more
        raise StartupError(f"{url.geturl()} does not answer: {_in_words(error)}") from error


def _get(url: SplitResult, timeout_s: float) -> tuple[int, bytes]:
    connection = _connection(url, timeout_s)
    try:
        connection.request("GET", url._replace(scheme="", netloc="").geturl() or "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BODY_BYTES)
    finally:
        connection.close()


def _connection(url: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    if url.scheme == "http":
        return http.client.HTTPConnection(url.netloc, timeout=timeout_s)
    # The certificate is made out to the name that others use, not to 127.0.0.1; and nothing secret is said or believed.
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(url.netloc, timeout=timeout_s, context=anyone)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing within {TIMEOUT_S:g} s"
    if isinstance(error, http.client.HTTPException):
        return f"that is not HTTP ({type(error).__name__})"
    return str(getattr(error, "strerror", None) or error)


def _arming(body: bytes) -> str:
    """Whether the daemon is armed, as /healthz says (`ok: dry run`) and /readyz; nothing for other pages."""
    try:
        told = json.loads(body)["arming"]
    except (ValueError, KeyError, TypeError):
        told = body.decode("utf-8", "replace").partition("ok: ")[2] if body.startswith(b"ok: ") else ""
    return f": {_printable(told)}" if isinstance(told, str) and told else ""


def _reasons(body: bytes) -> str:
    """What does not hold, by the page /readyz; nothing for other pages."""
    try:
        checks: Any = json.loads(body)["checks"]
        failing = [f"{check['name']}: {check['detail']}" for check in checks if not check["ok"]]
    except (ValueError, KeyError, TypeError):
        return ""
    text = "; ".join(failing)
    return f": {_printable(text)}" if text else ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


# --- where the daemon listens ----------------------------------------------------------------------------------------


def _checked(page: str) -> SplitResult:
    try:
        url = urlsplit(page)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0 and page.isascii()
    except ValueError:
        usable = False
    if not usable or not page.isprintable() or " " in page:
        raise ConfigurationError(f"cannot ask {page!a}: write an address such as http://127.0.0.1:9877/healthz")
    return url


def _own_address(config: Path | None) -> str:
    """Where to reach what listens on the configured address."""
    listen = find_config(config, os.environ).listen()
    host, _, port = listen.rpartition(":")
    if port == "0":
        raise ConfigurationError(f"listen is {listen}, any free port: say with --url where that is")
    return f"{_ONE_OF_ALL.get(host, host)}:{port}"
