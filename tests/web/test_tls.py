"""HTTPS with certificates made here."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from watchdog.config.models import WebSettings
from watchdog.errors import ConfigurationError
from watchdog.web import WebServer, bind

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate"),
]


def certificate(folder: Path, name: str = "localhost") -> WebSettings:
    """A self-signed certificate for localhost and 127.0.0.1, in two files."""
    folder.mkdir(exist_ok=True)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return WebSettings(tls_cert=folder / "cert.pem", tls_key=folder / "key.pem")


@pytest.fixture
def web(tmp_path: Path) -> WebSettings:
    return certificate(tmp_path / "tls")


@contextlib.asynccontextmanager
async def served(web: WebSettings) -> Any:
    context = web.tls_context()
    assert context is not None
    server = WebServer(PlainTextResponse("hello"), bind("127.0.0.1", 0), tls=context)
    await server.start()
    try:
        yield server, context
    finally:
        await server.stop()


def client(web: WebSettings, **options: Any) -> httpx.AsyncClient:
    trust = ssl.create_default_context(cafile=str(web.tls_cert))
    for name, value in options.items():
        setattr(trust, name, value)
    return httpx.AsyncClient(verify=trust, trust_env=False)


async def test_https(web: WebSettings) -> None:
    async with served(web) as (server, _), client(web) as http:
        answer = await http.get(f"https://127.0.0.1:{server.port}/")
    assert (answer.text, "server" in answer.headers) == ("hello", False)


async def test_plain_http_is_not_answered(web: WebSettings) -> None:
    async with served(web) as (server, _), client(web) as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"http://127.0.0.1:{server.port}/")
        assert (await http.get(f"https://127.0.0.1:{server.port}/")).text == "hello"


async def test_old_versions_are_refused(web: WebSettings) -> None:
    context = web.tls_context()
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    async with served(web) as (server, _):
        for version, works in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
            async with client(web, maximum_version=version) as http:
                assert (await http.get(f"https://127.0.0.1:{server.port}/")).is_success == works
        command = f"openssl s_client -connect 127.0.0.1:{server.port} -tls1_1 -cipher DEFAULT@SECLEVEL=0"
        process = await asyncio.create_subprocess_exec(
            *command.split(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert b"-----BEGIN CERTIFICATE-----" not in said
        assert process.returncode != 0


async def test_a_renewed_certificate_is_shown_to_new_connections(web: WebSettings, tmp_path: Path) -> None:
    async with served(web) as (server, context):
        async with client(web) as http:
            assert (await http.get(f"https://127.0.0.1:{server.port}/")).text == "hello"
        renewed = certificate(tmp_path / "tls", "renewed")
        async with client(renewed) as http:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await http.get(f"https://127.0.0.1:{server.port}/")
        web.renew_tls(context)
        async with client(renewed) as http:
            assert (await http.get(f"https://127.0.0.1:{server.port}/")).text == "hello"


async def test_a_bad_renewal_leaves_the_old_certificate(web: WebSettings, tmp_path: Path) -> None:
    """As in the moment when the certificate is there and its key is not yet."""
    old = tmp_path / "old.pem"
    async with served(web) as (server, context):
        shutil.copy(tmp_path / "tls" / "cert.pem", old)
        certificate(tmp_path / "other")
        shutil.copy(tmp_path / "other" / "cert.pem", tmp_path / "tls" / "cert.pem")
        with pytest.raises(ConfigurationError, match="tls_key: does not belong to the certificate"):
            web.renew_tls(context)
        async with client(WebSettings(tls_cert=old, tls_key=web.tls_key)) as http:
            assert (await http.get(f"https://127.0.0.1:{server.port}/")).text == "hello"


async def test_a_silent_handshake_does_not_delay_the_stop(web: WebSettings) -> None:
    async with served(web) as (server, _):
        with socket.create_connection(("127.0.0.1", server.port)):
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 1.5
