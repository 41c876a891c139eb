"""The pages, over a real socket."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from watchdog.domain.arming import Arming
from watchdog.web import Check, Gate, WebServer, bind, create_app

pytestmark = pytest.mark.anyio


class FakeHealth:
    def __init__(self, *checks, alive=True):
        self.checks = checks
        self.is_alive = alive
        self.armings = {"apify-main": Arming(), "other": Arming()}

    def alive(self):
        return self.is_alive

    def arming(self):
        return self.armings

    def readiness(self):
        return self.checks


async def render(accept):
    return f"up 1 {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


@contextlib.asynccontextmanager
async def client_of(health=None, metrics=render):
    app = create_app(health or FakeHealth(), metrics, {}, Gate(None, local=True, told=lambda *_: None))
    server = WebServer(app, bind("127.0.0.1", 0))
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            yield client
    finally:
        await server.stop()


async def test_metrics_pass_the_accept_header_and_the_content_type():
    async with client_of() as client:
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.text == "up 1 application/openmetrics-text\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_healthz():
    health = FakeHealth()
    async with client_of(health) as client:
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok: armed")
        health.armings = dict.fromkeys(health.armings, Arming(dry_run=True))
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok: dry run")
        health.is_alive = False
        assert (await client.get("/healthz")).status_code == 503


async def test_readyz_says_what_is_missing():
    health = FakeHealth(Check("rules", True, "3 rules"), Check("apify-main", False, "no sweep yet"))
    async with client_of(health) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "ready": False,
            "armed": True,
            "arming": "armed",
            "checks": [
                {"name": "rules", "ok": True, "detail": "3 rules"},
                {"name": "apify-main", "ok": False, "detail": "no sweep yet"},
            ],
        }
        health.checks = health.checks[:1]
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)


async def test_readyz_says_that_it_is_not_armed_and_is_ready_all_the_same():
    health = FakeHealth(Check("rules", True, "3 rules"))
    health.armings["other"] = Arming(pause="1", reason="release")
    async with client_of(health) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["armed"] is False
    assert answer.json()["arming"] == "armed on apify-main; paused: release on other"


async def test_the_start_page_links_the_others():
    async with client_of() as client:
        page = (await client.get("/")).text
    assert all(f'href="/{path}"' in page for path in ("metrics", "healthz", "readyz"))
    assert "<script" not in page


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz"])
async def test_head_is_get_without_the_body(path):
    async with client_of() as client:
        whole, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/..%2f..%2fetc/passwd"])
async def test_other_paths_are_not_found(path):
    async with client_of() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.text) == (404, "Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(method):
    async with client_of() as client:
        answer = await client.request(method, "/metrics")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def broken(accept):
    raise RuntimeError("a secret detail")


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nothing", 404), ("/metrics", 500)])
async def test_every_answer_has_the_security_headers_and_no_banner(path, status):
    async with client_of(metrics=broken) as client:
        answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answer.headers
    assert "secret" not in answer.text
