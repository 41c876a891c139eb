"""Rules that can be read and are probably not meant: limits that end everything, accounts that no rule covers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from watchdog.domain.decision import describe
from watchdog.domain.meter import Meter
from watchdog.domain.platform import PlatformTraits
from watchdog.domain.rule import Action, Rule, Selector
from watchdog.rulefile.reach import Surroundings

_OF_ACCOUNTS = ("platform", "account")


def doubtful_limit(selector: Selector, kind: Meter, limit: float, action: Action, around: Surroundings) -> str:
    """What is doubtful about a limit on these runs, as a sentence; "" if nothing is."""
    runs = f"every run of {_accounts(selector, around)}" if is_catch_all(selector) else "every run that it matches"
    done = "aborted" if action is Action.ABORT else "reported"
    if limit == 0:
        return f"{kind} 0 allows nothing: {runs} is {done} at the first look; leave the key out if no limit is meant"
    figure = describe(kind, limit, _only(around, selector))
    if is_catch_all(selector) and action is Action.ABORT and limit < kind.entry.lowest:
        return f"{kind} is only {figure}, and the match leaves nothing out: nearly {runs} is {done}"
    return ""


def doubtful_protection(selector: Selector, around: Surroundings) -> str:
    """That an entry of protect leaves nothing to abort, as a sentence; "" if it does not."""
    if not is_catch_all(selector):
        return ""
    return f"this protects every run of {_accounts(selector, around)}: none of them is ever aborted"


def is_catch_all(selector: Selector) -> bool:
    """Whether it means every run of the accounts that it means."""
    return all(key in _OF_ACCOUNTS or _is_any(key, globs) for key, globs in selector.globs.items())


def _is_any(key: str, globs: Collection[str]) -> bool:
    """Whether every text fits: `*`, `?*`; of an Actor, which always has an owner, also `*/*`."""
    signs = "*?/" if key == "actor" else "*?"
    return any("*" in glob and glob.count("/") < 2 and not glob.strip(signs) for glob in globs)


def _accounts(selector: Selector, around: Surroundings) -> str:
    limiting = [globs for key, globs in selector.globs.items() if key in _OF_ACCOUNTS and not _is_any(key, globs)]
    if limiting:
        return " and ".join(", ".join(globs) for globs in limiting)
    owners = sorted({owner for key in selector.globs for owner in around.owners(key)})
    return "every account" + (f" on {' and '.join(owners)}" if owners else "")


def _only(around: Surroundings, selector: Selector) -> PlatformTraits | None:
    """The platform whose runs are meant, if it is but one."""
    platforms = around.platforms_meant(selector)
    return around.platforms.get(next(iter(platforms))) if len(platforms) == 1 else None


def uncovered_accounts(rules: Iterable[Rule], around: Surroundings) -> Iterator[str]:
    """A sentence for each configured account that no rule can match."""
    covered = {account.name for rule in rules for account in around.accounts_of(rule.selector)}
    for account in around.accounts or ():
        if account.name not in covered:
            yield f"no rule covers the account '{account.name}': none of its runs is ever aborted; write a rule for it"
