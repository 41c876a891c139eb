"""The rate budget of one account: who may send a request when.

Four things hold a request back, and all of them are counted the same way, once for the whole account and once for its
endpoint family (`window.Window`; a family's is in `family.Family`):

- **the window**: never more than the limit in any 60 s, with a share of it left for those that go first;
- **the pace**: sweeps and looks are spread over the minute instead of leaving all at once and then none for a minute;
- **what the platform tells**: a pause, how many requests remain until its own count starts anew, a lower limit;
- **what it refuses**: after a 429 the limit of the family shrinks, and grows back while none follows.

Everything here is arithmetic on the clock that is given; a request costs the same however many were sent before.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType

from watchdog.domain.ports import Clock
from watchdog.domain.status import RateUse
from watchdog.net.family import PAUSE_MAX_S, Departure, Family, Quota
from watchdog.net.window import TICK_S, Priority, Window, shares

#: The first pause after a fault, or after a 429 that names no time.
BACKOFF_S = 0.5
#: A 429 that names no time: the pause doubles from BACKOFF_S up to this while 429s go on.
BACKOFF_MAX_S = 60.0
#: A look that has been the next of its kind for so long counts as a sweep: sweeps alone must not starve it.
PROMOTION_S = 10.0
#: Waiting callers look again at least this often.
_RECHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class BudgetState:
    """`allowed_per_minute`: what the most limited family may send at present; `used`: the share that one family has
    used of its own in the last minute."""

    allowed_per_minute: int
    used: float


@dataclass(eq=False, slots=True)
class _Head:
    """The caller whose turn is next among those of its family and priority."""

    name: str
    family: Family
    priority: Priority
    since_s: float
    number: int

    def rank(self, now_s: float) -> Priority:
        overdue = self.priority is Priority.LOOK and now_s - self.since_s >= PROMOTION_S
        return Priority.SWEEP if overdue else self.priority


class Slot:
    """Waits until a request may be sent; the request is under way until the block is left."""

    __slots__ = ("_budget", "_departure", "_family", "_priority")

    def __init__(self, budget: RateBudget, family: str, priority: Priority) -> None:
        self._budget = budget
        self._family = family
        self._priority = priority

    async def __aenter__(self) -> Departure:
        self._departure = await self._budget._depart(self._family, self._priority)
        return self._departure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget._come_back(self._departure)


class RateBudget:
    """At most `per_minute` requests in any 60 s, with a share kept for aborts, and another for sweeps before looks.

    The promise is a sliding window rather than a bucket: a bucket lets a burst and its refill through in one minute,
    which is more than was promised. A request counts from before it leaves until 60 s after its answer: whenever in
    between the platform counted it, its window is never over the limit. Within it sweeps and looks are paced by a
    bucket; aborts and the looks around them never are. Families are groups of endpoints that a platform limits
    together: what it says or refuses (`pause`, `learn`, `shrink`) holds for its family only. First come, first served
    within a family and priority.
    """

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._limit = max(1, per_minute)
        self._shares = shares(self._limit)
        self._window = Window()
        self._families: dict[str, Family] = {}
        self._turns: defaultdict[tuple[str, Priority], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._heads: list[_Head] = []
        self._heads_so_far = 0

    async def acquire(self, family: str, priority: Priority) -> None:
        """Wait until a request may be sent, and count it as one that is over at once."""
        async with self.slot(family, priority):
            pass

    def slot(self, family: str, priority: Priority) -> Slot:
        """Wait until a request may be sent; it is under way until the block is left. Gives its `Departure`."""
        return Slot(self, family, priority)

    async def _depart(self, name: str, priority: Priority) -> Departure:
        async with self._turns[name, priority]:
            family, now = self._family(name), self._clock.monotonic()
            self._heads_so_far += 1
            head = _Head(name, family, priority, now, self._heads_so_far)
            self._heads.append(head)
            try:
                while (wait := self._wait(head, now)) > 0:
                    await self._clock.sleep(min(max(wait, TICK_S), _RECHECK_S))
                    now = self._clock.monotonic()
            finally:
                self._heads.remove(head)
            rank = head.rank(now)
            self._window.leave(self._shares, rank, now)
            family.leave(rank, now)
            return Departure(name, now, family.departed, family.answered)

    def _come_back(self, request: Departure) -> None:
        now = self._clock.monotonic()
        self._window.back(now)
        self._family(request.family).back(now)

    def _wait(self, head: _Head, now: float) -> float:
        """Seconds until it is worth asking again; 0: go."""
        before = self._before(head, now) if len(self._heads) > 1 else []
        if (wait := self._wait_in_family(head, before, now)) > 0:
            return wait
        # Those whose family has no room for them hold up nobody of another one.
        ahead = sum(self._wait_in_family(other, self._before(other, now), now) <= 0 for other in before)
        rank = head.rank(now)
        return self._window.wait(self._shares[rank], rank, ahead, now)

    def _before(self, head: _Head, now: float) -> list[_Head]:
        """Who else goes first."""
        order = (head.rank(now), head.number)
        return [other for other in self._heads if other is not head and (other.rank(now), other.number) < order]

    def _wait_in_family(self, head: _Head, before: list[_Head], now: float) -> float:
        ahead = sum(other.family is head.family for other in before)
        return head.family.wait(head.rank(now), ahead, now)

    def _family(self, name: str) -> Family:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(self._limit)
        return family

    def pause(self, family: str, seconds: float) -> None:
        """Send nothing of this family for a while, because the platform asked for it."""
        of = self._family(family)
        of.paused_until = max(of.paused_until, self._clock.monotonic() + min(seconds, PAUSE_MAX_S))

    def pause_s(self, family: str) -> float:
        """For how many more seconds nothing of this family is sent, because the platform asked for it."""
        return max(0.0, self._family(family).paused_until - self._clock.monotonic())

    def back_off(self, family: str) -> None:
        """Pause a family for a time of our own choice: longer with each call until `ease`. Several answers to
        requests that left together count once."""
        of = self._family(family)
        if of.paused_until <= self._clock.monotonic():
            of.strikes += 1
            self.pause(family, min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(of.strikes - 1, 10)))

    def ease(self, family: str) -> None:
        """The platform answers again: the next `back_off` begins anew."""
        self._family(family).strikes = 0

    def shrink(self, request: Departure) -> None:
        """The platform refused this request for its rate (429): its family gets less for some minutes. Several such
        answers to requests that left before the first of them came count once. Aborts keep the whole."""
        family = self._family(request.family)
        if request.at_s > family.shrunk_at:
            family.shrink(self._clock.monotonic())

    def learn(self, request: Departure, quota: Quota) -> None:
        """The answer to this request told how much the platform has left for its family. No more than that leaves
        until the reset, less the reserve of each class and all that the platform may not have counted yet."""
        if quota.remaining >= 0 and 0 < quota.reset_s <= PAUSE_MAX_S:
            self._family(request.family).learn(request, quota, self._clock.monotonic())

    def state(self, family: str) -> BudgetState:
        """What is allowed at present, and how much of it this family used."""
        now = self._clock.monotonic()
        of = self._family(family)
        allowed = min(each.per_minute(now) for each in self._families.values())
        return BudgetState(allowed, of.window.used(now) / of.per_minute(now))

    @property
    def in_window(self) -> int:
        """Requests that count at present."""
        return self._window.used(self._clock.monotonic())

    @property
    def use(self) -> RateUse:
        """How much of it is used by all families together, and what the most limited one may send."""
        now = self._clock.monotonic()
        allowed = min((each.per_minute(now) for each in self._families.values()), default=self._limit)
        return RateUse(self._window.used(now), allowed)
