"""The registry: our platforms, and those of others as docs/plugins.md describes them."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchdog.app.rules import traits_in
from watchdog.cli.common import load
from watchdog.domain.decision import Mode
from watchdog.domain.run import RunState
from watchdog.errors import Gone, StartupError
from watchdog.platforms.facts import ENTRY_POINTS
from watchdog.platforms.registry import known_platforms
from watchdog.rulefile import parse_rules, read_rule_files

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"

OLDER = Path(__file__).parent / "older" / "crawlhub.py"


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution of one module, as pip would leave it on disk."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)

    def put(name: str, module: str, code: str, entry: str) -> None:
        (tmp_path / f"{module}.py").write_text(code, "utf-8")
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{entry}\n", "utf-8")
        importlib.invalidate_caches()

    yield put
    for module in set(sys.modules) - modules:
        del sys.modules[module]


@pytest.fixture(params=["guide", "older"])
def crawlhub(install: Install, request: pytest.FixtureRequest) -> None:
    """The example of the guide, installed: as it stands there, and as it stood when specs gave the match keys."""
    project = tomllib.loads(block("toml"))["project"]
    assert list(project["entry-points"]) == [ENTRY_POINTS]
    [(name, value)] = project["entry-points"][ENTRY_POINTS].items()
    code = block("python") if request.param == "guide" else OLDER.read_text("utf-8")
    install(project["name"], value.partition(":")[0], code, f"{name} = {value}")


def test_ours() -> None:
    specs = known_platforms()
    assert list(specs)[:2] == ["apify", "lobstr"]
    assert specs["apify"].base_url == "https://api.apify.com"
    assert (specs["lobstr"].auth_scheme, specs["lobstr"].requests_per_minute) == ("Token", 120)
    assert (specs["apify"].match_keys, specs["lobstr"].match_keys) == (("actor", "task"), ("squid", "crawler"))


@pytest.mark.usefixtures("crawlhub")
def test_the_example_is_found() -> None:
    spec = known_platforms()["crawlhub"]
    assert (spec.name, spec.match_keys, spec.requests_per_minute) == ("crawlhub", ("spider",), 300)
    assert spec.traits.match_keys == ("spider",)


@pytest.mark.usefixtures("crawlhub")
def test_rules_know_the_match_keys_of_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `check`, the daemon's start and its reload read them."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/rules.yaml").write_text(block("yaml"), "utf-8")
    config = tmp_path / "budget-watchdog.yaml"
    config.write_text("accounts: [{name: hub, platform: crawlhub, token_env: HUB_TOKEN}]\n", "utf-8")
    monkeypatch.setenv("HUB_TOKEN", "secret")
    loaded = load(config, None)
    [rule] = loaded.rules.rules.rules
    assert rule.selector.globs["spider"] == ("news-*",)
    assert (
        parse_rules(read_rule_files(loaded.settings.rules), platforms=traits_in(known_platforms())).rules
        == loaded.rules.rules
    )


@pytest.mark.anyio
@pytest.mark.usefixtures("crawlhub")
async def test_the_example_works(shelf: Any, connect: Any, reply: Any) -> None:
    jobs = {
        "a/1": {
            "id": "a/1",
            "state": "running",
            "spider": "maps",
            "spent": 1.5,
            "runtime": "0:10:00",
            "trigger": "cron",
        },
        "b": {"id": "b", "state": "napping", "spider": "maps", "spent": None, "runtime": "soon"},
        "c": {"id": "c", "state": "finished"},
    }

    def serve(asked: Any) -> Any:
        path = asked.path.removeprefix("/v9")
        assert asked.headers["authorization"] == "Key tok-0123456789abcdef"
        if path == "/jobs":
            return reply({"jobs": [*jobs.values(), {"id": 7}]})
        job = jobs.get(path.removeprefix("/jobs/").removesuffix("/stop"))
        if job is None:
            return reply({"detail": "no such job"}, 404)
        return reply({**job, "state": "stopped"} if asked.method == "POST" else job)

    shelf.handler = serve
    adapter = connect("crawlhub", shelf.url + "/v9")
    sweep = await adapter.sweep()
    assert [(seen.run_id, seen.state) for seen in sweep.snapshots] == [
        ("a/1", RunState.RUNNING),
        ("b", RunState.UNKNOWN),
    ]
    assert len(sweep.bad_items) == 1
    seen = await adapter.inspect("a/1", urgent=True, progress=True)
    assert (seen.usage.cost_usd, seen.usage.duration_s, seen.usage.credits, seen.inspected) == (1.5, 600, None, True)
    assert (await adapter.inspect("b")).usage.duration_s is None
    assert (await adapter.abort("a/1", Mode.IMMEDIATE)).state is RunState.ABORTED
    await adapter.explain("a/1", "over its limit")
    with pytest.raises(Gone):
        await adapter.inspect("nobody")
    assert await adapter.check() == "can list jobs (4 active)"


SPEC = """
from watchdog.domain.run import replace
from watchdog.platforms.registry import LOBSTR
SPEC = replace(LOBSTR, traits=replace(LOBSTR.traits, name={name!r}), base_url="http://mine.invalid")
"""


def test_ours_cannot_be_replaced(install: Install) -> None:
    install("one", "plugin_one", SPEC.format(name="apify"), "one = plugin_one:SPEC")
    assert known_platforms()["apify"].base_url == "https://api.apify.com"


def test_two_plugins_of_one_name(install: Install) -> None:
    install("one", "plugin_one", SPEC.format(name="hub"), "one = plugin_one:SPEC")
    install("two", "plugin_two", SPEC.format(name="hub"), "two = plugin_two:SPEC")
    with pytest.raises(
        StartupError, match=r"^two platform plug-ins, '(one|two)' and '(one|two)', are called 'hub'; uninstall"
    ):
        known_platforms()


@pytest.mark.parametrize(
    ("code", "entry", "says"),
    [
        ("import no_such_module", "bad = plugin_bad:SPEC", "cannot be loaded: No module named 'no_such_module'"),
        ("", "bad = plugin_bad:SPEC", "cannot be loaded: .* no attribute 'SPEC'"),
        ("SPEC = 7", "bad = plugin_bad:SPEC", "is not a PlatformSpec"),
        ("SPEC = 1 / 0", "bad = plugin_bad:SPEC", "cannot be loaded: division by zero"),
    ],
)
def test_a_plugin_that_is_none(install: Install, code: str, entry: str, says: str) -> None:
    install("bad", "plugin_bad", code, entry)
    with pytest.raises(StartupError, match=f"^the platform plug-in 'bad' {says}; update or uninstall it$"):
        known_platforms()
