"""Which series a rule can ever produce on an account: what must exist at zero, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from watchdog.domain.decision import Mode, Response
from watchdog.domain.notice import AccountInfo
from watchdog.domain.rule import Action, Rule, RuleSet


@dataclass(frozen=True, slots=True)
class Reach:
    """A rule on an account whose runs it can match, with the responses and modes that can come of it there.

    `modes` is empty for a rule that only notifies.
    """

    account: AccountInfo
    rule: Rule
    responses: tuple[Response, ...]
    modes: tuple[Mode, ...]


def reaches(rules: RuleSet, accounts: tuple[AccountInfo, ...]) -> Iterator[Reach]:
    """Every rule on every account that it can match at all."""
    for account in accounts:
        for rule in rules.rules:
            if rule.selector.matches_account(account.platform, account.name):
                modes = possible_modes(rule, rules, account) if rule.action is Action.ABORT else ()
                yield Reach(account, rule, possible_responses(rule, rules, account), modes)


def possible_responses(rule: Rule, rules: RuleSet, account: AccountInfo) -> tuple[Response, ...]:
    """What can be done about a breach of this rule; `protected` only where some protection can apply.

    `dry_run`, `held` and `deferred` are always possible for an abort: they come from outside the rules.
    """
    if rule.action is Action.NOTIFY:
        return (Response.NOTIFY,)
    protected = any(each.selector.matches_account(account.platform, account.name) for each in rules.protect)
    own = (Response.ABORT, Response.DRY_RUN, Response.HELD, Response.DEFERRED)
    return (*own, Response.PROTECTED) if protected else own


def possible_modes(rule: Rule, rules: RuleSet, account: AccountInfo) -> tuple[Mode, ...]:
    """The modes an abort can end in. Graceful where the platform can and some run is to be resumed later;
    immediate wherever the platform can, since a graceful abort may be escalated."""
    resumed = rule.resurrect or any(each.matches_account(account.platform, account.name) for each in rules.resurrect)
    if resumed or Mode.IMMEDIATE not in account.modes:
        return tuple(mode for mode in Mode if mode in account.modes)
    return (Mode.IMMEDIATE,)
