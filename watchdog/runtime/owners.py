"""Whose tokens they are: two tokens of one owner see the same runs, and every run would count twice."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping

from watchdog.domain.notice import Trouble
from watchdog.domain.ports import Observer, Owned, Platform
from watchdog.errors import ConfigurationError, PlatformError, Problem, Unreachable
from watchdog.runtime.enforcer import Enforcer

#: Nobody waits longer than this for the answers at the start, in real seconds.
PATIENCE_S = 5.0
#: How often those that could not be asked are asked again, in seconds.
AGAIN_S = 300.0


class Owners:
    """The owners of the accounts' tokens. `places` says where each account is: only two in one place can be of one
    owner, and only such are asked."""

    def __init__(
        self,
        platforms: Mapping[str, Platform],
        places: Mapping[str, Hashable],
        enforcer: Enforcer,
        observer: Observer,
    ) -> None:
        self._platforms = platforms
        self._places = places
        self._enforcer = enforcer
        self._observer = observer
        everywhere = list(places.values())
        self._unknown = [name for name, place in places.items() if everywhere.count(place) > 1]
        self._owners: dict[str, str] = {}
        self._told: set[str] = set()

    async def refuse_twins(self) -> list[str]:
        """Raise ConfigurationError if two accounts are of one owner. An owner that cannot be read now is told of, and
        asked for again later; a sentence for each."""
        failed = await self._ask()
        twins = self._twins()
        if twins:
            raise ConfigurationError(Problem("", 0, 0, self._sentence(*pair)) for pair in twins.items())
        for name, error in failed.items():
            self._observer.notice(Trouble(self._doubt(name, error), account=name))
        return [self._doubt(name, error) for name, error in failed.items()]

    async def ask_again(self) -> None:
        """Ask those that could not be read at the start. Of two accounts of one owner, only the first acts from now on:
        whatever the rules want of the other's runs is done and booked in its name."""
        await self._ask()
        for name, first in self._twins().items():
            if name not in self._told:
                self._told.add(name)
                self._enforcer.unite(name, first)
                text = f"{self._sentence(name, first)}; until then aborts are made and booked on '{first}' only"
                self._observer.notice(Trouble(text, account=name, level="error"))

    async def _ask(self) -> dict[str, PlatformError]:
        """Ask whoever is not known yet; why it cannot be told, by account."""
        wanted, self._unknown = self._unknown, []
        answers = await asyncio.gather(*(self._owner_of(name) for name in wanted))
        failed = {}
        for name, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, PlatformError):
                failed[name] = answer
                self._unknown.append(name)
            elif answer is not None:
                self._owners[name] = answer
        return failed

    async def _owner_of(self, name: str) -> str | PlatformError | None:
        platform = self._platforms[name]
        if not isinstance(platform, Owned):
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await platform.owner()
        except TimeoutError:
            return Unreachable(f"account '{name}': no answer within {PATIENCE_S:g} s", account=name)
        except PlatformError as error:
            return error

    def _twins(self) -> dict[str, str]:
        """The first account of the same owner, by the name of each other one."""
        first: dict[Hashable, str] = {}
        twins = {}
        for name, place in self._places.items():
            if name in self._owners and (other := first.setdefault((place, self._owners[name]), name)) != name:
                twins[name] = other
        return twins

    @staticmethod
    def _doubt(name: str, error: PlatformError) -> str:
        return (
            f"account '{name}': its user cannot be read, so it cannot be told whether another account has a token of "
            f"the same user, which would count every run twice ({error})"
        )

    def _sentence(self, name: str, first: str) -> str:
        platform = self._platforms[name].traits.name
        return (
            f"accounts '{first}' and '{name}' have tokens of the same {platform} user, so that every run would count "
            "twice; remove one of them"
        )
