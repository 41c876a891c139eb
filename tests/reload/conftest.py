"""Rule files on a real disk, and a watch over them with short times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from watchdog.domain.notice import Notice, RulesLoaded, RulesRejected
from watchdog.platforms.facts import OURS
from watchdog.rulefile import LoadedRules, RuleFiles, parse_rules, read_rule_files
from watchdog.runtime.clock import SystemClock
from watchdog.runtime.reload import Reloader, RuleWatch
from watchdog.runtime.rulebook import Rulebook

N = TypeVar("N")
PATIENCE_S = 15.0


def cap(limit: float, name: str = "cap") -> str:
    return f"rules: [{{name: {name}, limits: {{max_cost_usd: {limit}}}}}]\n"


class Draft:
    def __init__(self, files: RuleFiles) -> None:
        self._files = files
        self.digest = files.digest

    def judge(self) -> LoadedRules:
        return parse_rules(self._files, platforms=OURS)


class LateClock(SystemClock):
    """The real time, and more."""

    more = timedelta()

    def now(self) -> datetime:
        return super().now() + self.more


class Watched:
    """A path of rules under watch, and everything that was told of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notices: list[Notice] = []
        self.reads = 0
        loaded = Draft(read_rule_files(path)).judge()
        self.rulebook = Rulebook(loaded.rules)
        self.clock = LateClock()
        self.hold: Callable[[int], None] = lambda reads: None
        self.reloader = Reloader(self._read, self.rulebook, self, self.clock, (), loaded.digest)

    def _read(self) -> Draft:
        draft = Draft(read_rule_files(self.path))
        self.reads += 1
        self.hold(self.reads)
        return draft

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def told(self, kind: type[N]) -> list[N]:
        return [each for each in self.notices if isinstance(each, kind)]

    @property
    def loaded(self) -> list[RulesLoaded]:
        return self.told(RulesLoaded)

    @property
    def rejected(self) -> list[RulesRejected]:
        return self.told(RulesRejected)

    @property
    def limits(self) -> dict[str, float]:
        """What is in force: the only limit of each rule."""
        return {rule.name: next(iter(rule.limits.values())) for rule in self.rulebook.rules.rules}

    @asynccontextmanager
    async def watching(self, **times: float) -> AsyncIterator[Watched]:
        given = {"poll_s": 0.1, "settle_s": 0.05, "unrest_s": 2.0, "patience_s": 0.6} | times
        watch = RuleWatch(self.reloader, self.path, self, **given)
        await watch.start()
        try:
            yield self
        finally:
            await watch.stop()
        assert not [each for each in self.notices if "internal error" in str(each)]

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while not condition():
            assert asyncio.get_running_loop().time() < end, f"waited in vain for {what}: {self.notices[-3:]}"
            await asyncio.sleep(0.005)

    async def looks(self, count: int = 3) -> None:
        """Let the watch look at the files so many more times: for what must *not* happen."""
        wanted = self.reads + count
        await self.until(lambda: self.reads >= wanted, "more looks")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one rule of 1 dollar in one file."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(cap(1))
    return rules


@pytest.fixture
def watched() -> type[Watched]:
    return Watched


@pytest.fixture(name="cap")
def _cap() -> Callable[..., str]:
    return cap
