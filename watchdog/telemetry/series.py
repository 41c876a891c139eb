"""Which series a rule can ever produce on an account: what must exist at zero, and no more than that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from watchdog.domain.decision import Mode, Response
from watchdog.domain.meter import Meter
from watchdog.domain.notice import AccountInfo
from watchdog.domain.rule import RUN_KEYS, Action, Rule, RuleSet

#: What labels can be: their values, by the name of the label. One that is not in it can be all that its metric says.
Scope = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Reach:
    """Rules that are alike (at least one) on an account whose runs they can match, and what can come of each of them
    there."""

    rules: Sequence[Rule]
    scope: Scope

    def of(self, rule: Rule) -> Scope:
        """What can come of this one of them."""
        return {**self.scope, "rule": (rule.name,)}


#: What makes rules alike here: the accounts and platforms they are about, the keys that only some platforms' runs
#: have, their limits, and what they ask for.
_Shape = tuple[tuple[str, ...], tuple[str, ...], frozenset[str], tuple[Meter, ...], Action, bool, bool]


def reaches(rules: RuleSet, accounts: tuple[AccountInfo, ...]) -> Iterator[Reach]:
    """Every rule on every account that it can match at all. Rules that are alike go together: asking 20,000 of them for
    each of 40 accounts would take seconds."""
    alike: dict[_Shape, list[Rule]] = {}
    for rule in rules.rules:
        alike.setdefault(_shape(rule), []).append(rule)
    for account in accounts:
        protected = any(each.selector.matches_account(account.platform, account.name) for each in rules.protect)
        resumed = any(each.matches_account(account.platform, account.name) for each in rules.resurrect)
        for group in alike.values():
            first = group[0]
            if not _can_meet(first, account):
                continue
            modes = possible_modes(first, account, resumed=resumed) if first.action is Action.ABORT else ()
            responses = possible_responses(first, protected=protected)
            come = {"limit": tuple(first.limits), "response": responses, "mode": modes}
            # What never aborts saves nothing.
            yield Reach(group, {**of_account(account.platform, account.name), **come, **({} if modes else _NO_SAVING)})


_NO_SAVING: Scope = {"basis": ()}


def of_account(platform: str, name: str) -> Scope:
    """What there is on an account."""
    return {"platform": (platform,), "account": (name,)}


def of_abort(platform: str, account: str, rule: str, limit: str, modes: Iterable[str]) -> Scope:
    """What can come of an abort in one of these modes. No response to a breach: it may be none, and is counted by
    itself."""
    own = {"rule": (rule,), "limit": (limit,), "response": (), "mode": tuple(dict.fromkeys(modes))}
    return {**of_account(platform, account), **own}


def _shape(rule: Rule) -> _Shape:
    globs = rule.selector.globs
    keys = frozenset(key for key in globs if key not in RUN_KEYS)
    where = (globs.get("account", ()), globs.get("platform", ()))
    return (*where, keys, tuple(rule.limits), rule.action, _tells(rule), rule.resurrect)


def _can_meet(rule: Rule, account: AccountInfo) -> bool:
    own = account.match_keys
    if own is not None and not all(key in own or key in RUN_KEYS for key in rule.selector.globs):
        return False
    return rule.selector.matches_account(account.platform, account.name)


def possible_responses(rule: Rule, *, protected: bool) -> tuple[Response, ...]:
    """What can be done about a breach of this rule; `protected` only where some protection can apply.

    `dry_run`, `held` and `deferred` are always possible for an abort: they come from outside the rules.
    """
    told = (Response.NOTIFY,) if _tells(rule) else ()
    if rule.action is Action.NOTIFY:
        return told
    own = (Response.ABORT, Response.DRY_RUN, Response.HELD, Response.DEFERRED)
    return (*own, Response.PROTECTED, *told) if protected else (*own, *told)


def _tells(rule: Rule) -> bool:
    """Whether it only tells of a breach, or of that of one of its steps."""
    return rule.action is Action.NOTIFY or not all(step.do.stops for step in rule.steps)


def possible_modes(rule: Rule, account: AccountInfo, *, resumed: bool) -> tuple[Mode, ...]:
    """The modes an abort can end in. Graceful where the platform can and some run is to be resumed later (`resumed`: by
    a flag); immediate wherever the platform can, since a graceful abort may be escalated."""
    if rule.resurrect or resumed or Mode.IMMEDIATE not in account.modes:
        return tuple(mode for mode in Mode if mode in account.modes)
    return (Mode.IMMEDIATE,)
