"""The rate budget of one account: who may send a request when.

Four things hold a request back, and all of them are counted the same way, once for the whole account and once for its
endpoint family (`_Ledge`):

- **the window**: never more than the limit in any 60 s, with a share of it left for those that go first;
- **the pace**: sweeps and looks are spread over the minute instead of leaving all at once and then none for a minute;
- **what the platform tells**: a pause, how many requests remain until its own count starts anew, a lower limit;
- **what it refuses**: after a 429 the limit of the family shrinks, and grows back while none follows.

Everything here is arithmetic on the clock that is given; a request costs the same however many were sent before.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from types import TracebackType

from watchdog.domain.ports import Clock

#: The first pause after a fault, or after a 429 that names no time.
BACKOFF_S = 0.5
#: A 429 that names no time: the pause doubles from BACKOFF_S up to this while 429s go on.
BACKOFF_MAX_S = 60.0
#: What a platform tells (a pause, a reset, a limit) is believed for so long; beyond it we look again ourselves.
PAUSE_MAX_S = 900.0
#: A look that has been the next of its kind for so long counts as a sweep: sweeps alone must not starve it.
PROMOTION_S = 10.0
WINDOW_S = 60.0
#: The part of what a class may send in a minute that may leave at once, and the least number of requests that is.
BURST_SHARE = 0.2
BURST_MIN = 4
#: Those who go first may put off the pace of a class by so much at most, beyond its burst.
PACE_DEBT_S = 1.0
#: A 429 leaves so much of a family's limit, but never less than the second figure of the whole of it.
SHRINK = 0.7
SHRINK_MIN = 0.1
#: So much of the whole limit comes back in a second without a 429: all of it in three minutes after one.
RECOVERY_PER_S = 0.1 / 60
#: Resets are given in whole seconds.
RESET_SLACK_S = 1.0
#: Waiting callers look again at least this often, and never sleep for less than the second figure.
_RECHECK_S = 1.0
_TICK_S = 0.001
#: Nor for less than this if it is only the pace: at hundreds a second several leave at once, for one timer.
_PACE_TICK_S = 0.02
#: Rounding of sums of floats, far below what any clock can tell.
_GRAIN_S = 1e-6


class Priority(IntEnum):
    """Who goes first when the rate budget is short: each class leaves a share of the budget to those before it.

    `URGENT` are the looks right before and after an abort.
    """

    ABORT = 0
    URGENT = 1
    SWEEP = 2
    LOOK = 3


#: The part of the budget that each class leaves to those before it, and the least number of requests that is.
_LEFT = {
    Priority.ABORT: (0.0, 0),
    Priority.URGENT: (0.05, 1),
    Priority.SWEEP: (0.10, 1),
    Priority.LOOK: (0.12, 2),
}
_PACED = (Priority.SWEEP, Priority.LOOK)


@dataclass(frozen=True, slots=True)
class Quota:
    """What a platform tells of its own count: so many requests remain in the next `reset_s` seconds. `limit`: how many
    it allows from one reset to the next, if it says so."""

    remaining: int
    reset_s: float
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetState:
    """`allowed_per_minute`: what the most limited family may send at present; `used`: the share that one family has
    used of its own in the last minute."""

    allowed_per_minute: int
    used: float


@dataclass(frozen=True, slots=True)
class _Class:
    """What one class may do under a limit."""

    per_minute: int
    #: Left to those before it.
    reserve: int
    #: Between two of its requests, if they are spread evenly.
    step_s: float
    #: How far ahead of its even pace it may be.
    burst_s: float


@lru_cache(maxsize=4096)
def _classes(limit: int) -> tuple[_Class, ...]:
    """By priority, for `limit` requests a minute."""
    return tuple(_class(limit, *_LEFT[priority]) for priority in Priority)


def _class(limit: int, share: float, least: int) -> _Class:
    allowed = max(1, limit - max(least, round(share * limit)))
    step_s = WINDOW_S / allowed
    at_once = min(allowed, max(BURST_MIN, round(BURST_SHARE * allowed)))
    return _Class(allowed, limit - allowed, step_s, (at_once - 1) * step_s)


class _Ledge:
    """What counts under one limit, of the account or of a family, and how fast the rest of it may be used.

    The pace is a token bucket, kept as the time up to which its tokens are spent (`_spent`, by priority): a class may
    send while it is ahead of that by no more than its burst. What one class sends counts in the paces of all, as it
    does in the window: so looks slow down while sweeps go, rather than stop when the window is full. And once the burst
    is used, what the window has left is spread over the time until its oldest requests leave it: a bucket alone gives
    its burst and a minute's refill, so the window would be full before the minute is over.
    """

    __slots__ = ("_sent", "_spent", "open")

    def __init__(self) -> None:
        self.open = 0
        self._sent: deque[float] = deque()
        self._spent = dict.fromkeys(_PACED, -math.inf)

    def used(self, now: float) -> int:
        """Requests that count at present."""
        sent = self._sent
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        return self.open + len(sent)

    def wait(self, of: _Class, rank: Priority, ahead: int, now: float) -> float:
        """Seconds until there is room for a request behind `ahead` others; 0: now."""
        over = self.used(now) + ahead - of.per_minute
        if over >= 0:
            # Those under way leave the window after all that are over.
            leaves = self._sent[over] if over < len(self._sent) else now
            return max(leaves + WINDOW_S - now, _TICK_S)
        if rank not in self._spent:
            return 0.0
        early = self._spent[rank] + ahead * of.step_s - of.burst_s - now
        return max(early, _PACE_TICK_S) if early > _GRAIN_S else 0.0

    def leave(self, classes: tuple[_Class, ...], rank: Priority, now: float) -> None:
        """A request leaves."""
        used = self.used(now)
        free_s = (self._sent[0] + WINDOW_S if self._sent else now + WINDOW_S) - now
        for paced in _PACED:
            of = classes[paced]
            left = of.per_minute - used
            spent = max(self._spent[paced], now)
            step_s = of.step_s
            if left > 0 and spent + step_s > now + of.burst_s:
                step_s = max(step_s, free_s / left)
            owed = spent + step_s
            if paced is not rank:
                owed = max(spent, min(owed, now + of.burst_s + PACE_DEBT_S))
            self._spent[paced] = owed
        self.open += 1

    def back(self, now: float) -> None:
        """A request is over."""
        self.open -= 1
        self._sent.append(now)


@dataclass(slots=True)
class _Told:
    """How many requests remain by the platform's count, less those that it may not have counted yet."""

    left: int
    until_s: float
    #: An abort does not wait longer than this for a reset that may mean something else.
    abort_until_s: float
    #: The request whose answer told it.
    number: int
    #: Of how many, for the reserves.
    limit: int

    def wait(self, rank: Priority, ahead: int, now: float) -> float:
        if self.left - _classes(self.limit)[rank].reserve - ahead > 0:
            return 0.0
        return (self.abort_until_s if rank is Priority.ABORT else self.until_s) - now


class _Family:
    """Endpoints that a platform limits together."""

    def __init__(self, limit: int) -> None:
        self.ledge = _Ledge()
        self.paused_until = -math.inf
        self.strikes = 0
        self.departed = 0
        self.answered = 0
        self._limit = limit
        self._told: _Told | None = None
        self._told_limit = 0
        self._told_window_s = 0.0
        self._told_limit_until = -math.inf
        self._factor = 1.0
        self._shrunk_at = -math.inf

    # ---- what may be sent

    def whole(self, now: float) -> int:
        """Requests a minute by our limit and the platform's, whichever is lower."""
        if now >= self._told_limit_until:
            return self._limit
        # As long a window as was ever seen, at most a minute: a limit a second must not be taken for one a minute.
        return max(1, min(self._limit, math.floor(self._told_limit * WINDOW_S / self._told_window_s)))

    def per_minute(self, now: float) -> int:
        """The same after shrinking."""
        return max(1, math.floor(self.whole(now) * self._share(now) + _GRAIN_S))

    def _share(self, now: float) -> float:
        if self._factor >= 1.0:
            return 1.0
        return min(1.0, self._factor + (now - self._shrunk_at) * RECOVERY_PER_S)

    def wait(self, rank: Priority, ahead: int, now: float) -> float:
        """Seconds until the family has room for a request behind `ahead` others; 0: now."""
        if self.paused_until > now:
            return self.paused_until - now
        if (told := self.told(now)) and (wait := told.wait(rank, ahead, now)) > 0:
            return wait
        # Aborts may use the whole of it: what shrinks is for all that can wait.
        limit = self.whole(now) if rank is Priority.ABORT else self.per_minute(now)
        return self.ledge.wait(_classes(limit)[rank], rank, ahead, now)

    def leave(self, rank: Priority, now: float) -> None:
        """A request leaves."""
        if told := self.told(now):
            told.left -= 1
        self.departed += 1
        self.ledge.leave(_classes(self.per_minute(now)), rank, now)

    def back(self, now: float) -> None:
        self.answered += 1
        self.ledge.back(now)

    # ---- what the platform says

    def told(self, now: float) -> _Told | None:
        if self._told and now >= self._told.until_s:
            self._told = None
        return self._told

    def learn(self, request: Departure, quota: Quota, now: float) -> None:
        if quota.limit is not None:
            self._learn_limit(quota.limit, quota.reset_s, now)
        limit = min(quota.limit or self._limit, self._limit)
        # All that were under way together with this one, or after it: nobody knows in which order they were counted.
        unsure = self.departed - request.answered_before - 1
        until_s = now + quota.reset_s + RESET_SLACK_S
        new = _Told(quota.remaining - unsure, until_s, min(until_s, now + WINDOW_S), request.number, limit)
        old = self.told(now)
        if old is None or request.number > old.number:
            self._told = new
        elif new.until_s >= old.until_s - 2 * RESET_SLACK_S:
            # An older question answered later: the platform may have counted it before or after.
            old.left = min(old.left, new.left)

    def _learn_limit(self, limit: int, reset_s: float, now: float) -> None:
        known = limit == self._told_limit and now < self._told_limit_until
        seen_s = max(self._told_window_s, reset_s) if known else reset_s
        self._told_limit, self._told_limit_until = limit, now + PAUSE_MAX_S
        self._told_window_s = min(max(seen_s, 1.0), WINDOW_S)

    def shrink(self, now: float) -> None:
        self._factor, self._shrunk_at = max(SHRINK_MIN, self._share(now) * SHRINK), now

    @property
    def shrunk_at(self) -> float:
        return self._shrunk_at


@dataclass(eq=False, slots=True)
class Departure:
    """A request that left."""

    family: str
    at_s: float
    #: Counts the requests of its family.
    number: int
    #: How many of them had been answered before it left.
    answered_before: int


@dataclass(eq=False, slots=True)
class _Head:
    """The caller whose turn is next among those of its family and priority."""

    name: str
    family: _Family
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
        self._classes = _classes(self._limit)
        self._ledge = _Ledge()
        self._families: dict[str, _Family] = {}
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
                    await self._clock.sleep(min(max(wait, _TICK_S), _RECHECK_S))
                    now = self._clock.monotonic()
            finally:
                self._heads.remove(head)
            rank = head.rank(now)
            self._ledge.leave(self._classes, rank, now)
            family.leave(rank, now)
            return Departure(name, now, family.departed, family.answered)

    def _come_back(self, request: Departure) -> None:
        now = self._clock.monotonic()
        self._ledge.back(now)
        self._family(request.family).back(now)

    def _wait(self, head: _Head, now: float) -> float:
        """Seconds until it is worth asking again; 0: go."""
        before = self._before(head, now) if len(self._heads) > 1 else []
        if (wait := self._wait_in_family(head, before, now)) > 0:
            return wait
        # Those whose family has no room for them hold up nobody of another one.
        ahead = sum(self._wait_in_family(other, self._before(other, now), now) <= 0 for other in before)
        rank = head.rank(now)
        return self._ledge.wait(self._classes[rank], rank, ahead, now)

    def _before(self, head: _Head, now: float) -> list[_Head]:
        """Who else goes first."""
        order = (head.rank(now), head.number)
        return [other for other in self._heads if other is not head and (other.rank(now), other.number) < order]

    def _wait_in_family(self, head: _Head, before: list[_Head], now: float) -> float:
        ahead = sum(other.family is head.family for other in before)
        return head.family.wait(head.rank(now), ahead, now)

    def _family(self, name: str) -> _Family:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = _Family(self._limit)
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
        return BudgetState(allowed, of.ledge.used(now) / of.per_minute(now))

    @property
    def in_window(self) -> int:
        """Requests that count at present."""
        return self._ledge.used(self._clock.monotonic())
