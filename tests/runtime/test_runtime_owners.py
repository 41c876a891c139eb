"""Two tokens of one user see the same runs: refused at the start, and never acted on twice if that is found later."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from watchdog.config.models import AccountSettings
from watchdog.domain.decision import AbortState
from watchdog.domain.notice import Trouble
from watchdog.errors import ConfigurationError

pytestmark = pytest.mark.anyio

CAP = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 20}}]"
SECOND = "S3CRETsecondTokenOfTheSameUser"


def with_second(w: Any, platform: str, *, same_user: bool = True) -> None:
    """A second account on this platform, with another token of the same user or one of another."""
    if same_user:
        getattr(w, platform).other_tokens.add(SECOND)
    else:
        getattr(w.sim, platform)(SECOND)
    w.more_accounts.append(
        AccountSettings(name="second", platform=platform, token=SecretStr(SECOND), base_url=w.sim.url)
    )


@pytest.mark.parametrize("platform", ["apify", "lobstr"])
async def test_two_tokens_of_one_user_are_refused_before_anything_is_done(world: Any, platform: str) -> None:
    async with world(CAP) as w:
        w.apify.start_run(usd_per_hour=3600, started_ago=60)
        with_second(w, platform)
        with pytest.raises(ConfigurationError, match=f"^accounts '{platform}' and 'second' have tokens of the same"):
            await w.build().daemon(listen=False).run()
        assert {record.endpoint for record in w.sim.requests} == {"me"}
        assert await w.aborts() == []


@pytest.mark.parametrize("platform", ["apify", "lobstr"])
async def test_two_users_on_one_platform_are_watched_both(world: Any, platform: str) -> None:
    async with world(CAP) as w:
        with_second(w, platform, same_user=False)
        await w.start()
        assert not w.told(Trouble)


async def test_one_account_a_platform_is_not_asked_whose_it_is(world: Any) -> None:
    async with world(CAP) as w:
        await w.start()
        assert w.requests("me") == 0


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_an_owner_found_later_is_told_and_a_run_is_aborted_and_booked_once(world: Any, status: int) -> None:
    rules = "rules: [{name: cap, match: {account: second}, limits: {max_cost_usd: 0.5}}]"
    async with world(rules) as w:
        with_second(w, "apify")
        hidden = w.fault("status", "me", status=status)
        await w.start()
        warned = [each for each in w.told(Trouble) if "its user cannot be read" in each.message]
        assert [each.account for each in warned] == ["apify", "second"]
        hidden.remove()
        await w.app.owners.ask_again()
        await w.app.owners.ask_again()
        (error,) = [each for each in w.told(Trouble) if each.level == "error"]
        assert error.message.startswith("accounts 'apify' and 'second' have tokens of the same apify user")
        run = w.apify.start_run(usd_per_hour=36)
        await w.until_booked(run)
        abort = await w.abort_of(run)
        assert (abort.account, abort.rule, abort.state) == ("apify", "cap", AbortState.CONFIRMED)
        assert run.truth().abort_requests == 1


async def test_with_rules_for_both_a_run_is_aborted_once(world: Any) -> None:
    async with world(CAP) as w:
        with_second(w, "apify")
        w.fault("status", "me", status=503, times=2)
        await w.start()
        await w.app.owners.ask_again()
        runs = [w.apify.start_run(usd_per_hour=60 + each) for each in range(10)]
        await w.until_booked(*runs)
        await w.sweeps(3)
        assert sorted(abort.run_id for abort in await w.aborts()) == sorted(run.id for run in runs)
        assert [run.truth().abort_requests for run in runs] == [1] * len(runs)
        assert w.counted("aborts", account="second") == 0
