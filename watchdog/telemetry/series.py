"""Which series a rule can ever produce on an account: what must exist at zero, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from watchdog.domain.decision import Mode, Response
from watchdog.domain.meter import Meter
from watchdog.domain.notice import AccountInfo
from watchdog.domain.rule import RUN_KEYS, Action, Rule, RuleSet


@dataclass(frozen=True, slots=True)
class Reach:
    """Rules that are alike on an account whose runs they can match, with the responses and modes that can come of each
    of them there, and the kinds of its limits.

    `modes` is empty for rules that only notify.
    """

    account: AccountInfo
    rules: Sequence[Rule]
    limits: tuple[Meter, ...]
    responses: tuple[Response, ...]
    modes: tuple[Mode, ...]


#: What makes rules alike here: the accounts and platforms they are about, the keys that only some platforms' runs
#: have, their limits, and what they ask for.
_Shape = tuple[tuple[str, ...], tuple[str, ...], frozenset[str], tuple[Meter, ...], Action, bool]


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
            yield Reach(account, group, tuple(first.limits), possible_responses(first, protected=protected), modes)


def _shape(rule: Rule) -> _Shape:
    globs = rule.selector.globs
    keys = frozenset(key for key in globs if key not in RUN_KEYS)
    where = (globs.get("account", ()), globs.get("platform", ()))
    return (*where, keys, tuple(rule.limits), rule.action, rule.resurrect)


def _can_meet(rule: Rule, account: AccountInfo) -> bool:
    own = account.match_keys
    if own is not None and not all(key in own or key in RUN_KEYS for key in rule.selector.globs):
        return False
    return rule.selector.matches_account(account.platform, account.name)


def possible_responses(rule: Rule, *, protected: bool) -> tuple[Response, ...]:
    """What can be done about a breach of this rule; `protected` only where some protection can apply.

    `dry_run`, `held` and `deferred` are always possible for an abort: they come from outside the rules.
    """
    if rule.action is Action.NOTIFY:
        return (Response.NOTIFY,)
    own = (Response.ABORT, Response.DRY_RUN, Response.HELD, Response.DEFERRED)
    return (*own, Response.PROTECTED) if protected else own


def possible_modes(rule: Rule, account: AccountInfo, *, resumed: bool) -> tuple[Mode, ...]:
    """The modes an abort can end in. Graceful where the platform can and some run is to be resumed later (`resumed`: by
    a flag); immediate wherever the platform can, since a graceful abort may be escalated."""
    if rule.resurrect or resumed or Mode.IMMEDIATE not in account.modes:
        return tuple(mode for mode in Mode if mode in account.modes)
    return (Mode.IMMEDIATE,)
