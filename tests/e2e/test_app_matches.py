"""The application tells by metrics which entries of the rule files match any run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from watchdog.app import build
from watchdog.config.models import AccountSettings, Settings
from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules
from watchdog.simulated import SimulatedPlatforms

RULES = """
rules:
  - {name: all, limits: {max_cost_usd: 100}}
  - {name: lost, match: {actor: nobody/maps}, limits: {max_cost_usd: 100}}
protect:
  - {match: {run_id: "theRunInQuestion1"}}
"""
RULE, EXCEPTION = (
    "budget_watchdog_rule_matched_timestamp_seconds",
    "budget_watchdog_exception_matched_timestamp_seconds",
)


@pytest.mark.anyio
async def test_matches_are_shown_from_the_start_and_renewed(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RULES)
    platforms = SimulatedPlatforms()
    platforms.apify("apify_api_x").start_run(curve=lambda ran_s: 0.1, run_id="theRunInQuestion1")
    async with platforms:
        account = AccountSettings(name="a", platform="apify", token=SecretStr("apify_api_x"), base_url=platforms.url)
        app = build(Settings(accounts=(account,)), loaded=load_rules(file, platforms=OURS))

        def shown(name: str, **labels: str) -> float | None:
            return app.metrics.registry.get_sample_value(name, labels)

        try:
            app.announce()
            start = shown(RULE, rule="all")
            assert start == shown(RULE, rule="lost") == shown(EXCEPTION, section="protect", place="r.yaml:6")
            await app.watches[0].sweep()
            await app.matches.look()
            assert shown(RULE, rule="all") > start
            assert shown(EXCEPTION, section="protect", place="r.yaml:6") > start
            assert shown(RULE, rule="lost") == start
            assert [entry.name for entry in app.matches.coverage.unmatched] == ["lost"]
            file.write_text(RULES.replace("lost, match: {actor: nobody/maps}", "found"))
            app.rulebook.replace(load_rules(file, platforms=OURS).rules)
            await app.matches.look()
            assert shown(RULE, rule="lost") is None
            assert app.matches.coverage.unmatched == []
        finally:
            await app.net.aclose()
