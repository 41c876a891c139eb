"""What a command is about, as people name it: a run by its id or by the address of its page, and an account."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from watchdog.config import find_config
from watchdog.domain.links import is_link, named_by, run_pages
from watchdog.domain.ports import KnownRuns
from watchdog.domain.run import RunKey
from watchdog.errors import ConfigurationError
from watchdog.platforms.known import known_traits
from watchdog.text import shown
from watchdog.text.hints import closest, suggestion

#: An address that has lost its https://.
_HOST_AND_PATH = re.compile(r"[\w-]+(\.[\w-]+)+(:[0-9]+)?/")
#: What no id holds, and what a shell, a chat or a document may leave beside one.
_BRACKETS = frozenset("<>()|\\^")
#: What the ledger has room for.
_RUN_ID_MAX = 128
_QUOTES = frozenset("\"'`´‘’‚‛“”„‟«»‹›′″＂＇")
_WILDCARDS = frozenset("*?[]{}")
#: Of a mistyped id so many characters at its beginning or end are right.
_SURE_CHARACTERS = 3


class RunType(click.ParamType[str]):
    """The id of a run, given as it is or within the address of the run's page."""

    name = "run"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id; a usage error for what cannot be one."""
        try:
            return run_id_in(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


RUN = RunType()


def run_id_in(text: str) -> str:
    """The id of the run that is named by its id or by an address, without blanks around it. Raises ValueError with a
    sentence for the user."""
    text = text.strip()
    platforms = known_traits().values()
    if not is_link(text, platforms) and not _HOST_AND_PATH.match(text):
        return _checked(text)
    run_id = named_by(text, platforms).get("run_id")
    if run_id is None:
        # Without the query: that of an API's address may hold a token.
        bare = re.split(r"[?#]", text, maxsplit=1)[0]
        address = shown(bare.rpartition("://")[2].rpartition("@")[2], limit=200)
        pages = run_pages(platforms, "RUN")
        such = f", or an address such as {pages[0]}" if pages else ""
        raise ValueError(f"{address} is not the address of one run: give the run's id{such}")
    return _checked(run_id)


def _checked(text: str) -> str:
    if fault := _fault(text):
        raise ValueError(f"{shown(text)} is no run id: {fault}. Copy the id, or the address, from the run's page")
    return text


def _fault(text: str) -> str:
    """What keeps this from being the id of a run on any platform; "" if it can be one."""
    if not text:
        return "it is empty"
    if len(text) > _RUN_ID_MAX:
        return f"it is longer than {_RUN_ID_MAX} characters"
    return next((fault for char in text if (fault := _fault_of(char))), "")


def _fault_of(char: str) -> str:
    code = f"U+{ord(char):04X}"
    if char in _QUOTES:
        return f"it holds a quotation mark ({code})"
    if char.isspace():
        return f"it holds a blank ({code})"
    if not char.isprintable():
        return f"it holds an invisible character ({code})"
    if char in _WILDCARDS:
        return f"it holds '{char}'; one command is about one run (for many use `protect:` in the rule files)"
    if char in ",;":
        return f"it holds '{char}'; give one run at a time"
    if char in _BRACKETS:
        return f"it holds '{char}'"
    if not char.isascii():
        return f"it holds {unicodedata.name(char, 'a character').lower()} ({code})"
    return ""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of a configuration, each with its platform ("": unknown); `source` is the file, or what else they
    come from."""

    platforms: Mapping[str, str]
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.platforms)

    def of(self, account: str | None) -> frozenset[str]:
        """The platforms of this account, or of all; unknown ones may have any id."""
        return frozenset(self.platforms.values() if account is None else {self.platforms.get(account, "")})


def configured_accounts(config: Path | None, *, needed: bool = True) -> Accounts | None:
    """The accounts that a daemon on this configuration has; None if there is no configuration, or, unless it is
    `needed` for anything else, if it cannot be read."""
    from watchdog.config.loader import account_platforms  # pydantic takes a while to load

    found = find_config(config, os.environ)
    try:
        accounts = account_platforms(found, known_traits())
    except ConfigurationError:
        if needed or config is not None:
            raise
        return None
    return Accounts(accounts, str(found.file or "the environment")) if accounts else None


def doubt_of_spelling(run_id: str, account: str | None, known: Accounts | None) -> str:
    """What makes this unlikely to be the id of a run of these accounts, as a sentence; "" if nothing does. Raises
    click.UsageError if it cannot be one; with the right spelling, if that can be told."""
    from watchdog.rulefile.spelling import Value, misspelling

    meant = frozenset({""}) if known is None else known.of(account)
    found = misspelling(Value("run_id", run_id, meant, known=known_traits()))
    if found is None:
        return ""
    right = f"; write {found.right[0]}" if len(found.right) == 1 else ""
    if found.sure:
        raise click.UsageError(f"{shown(run_id)} cannot be the id of a run: {found.why}{right}")
    return f"{found.why}{right}."


def refuse_unknown_account(account: str | None, known: Accounts | None) -> None:
    """Raise ConfigurationError if this account is not among those there are; it would mean no run at all."""
    if account is None or known is None or account in known.names:
        return
    raise ConfigurationError(
        f"there is no account {shown(account)}{suggestion(account, known.names) or ';'} "
        f"{known.source} has: {', '.join(known.names)}"
    )


async def doubts(ledger: KnownRuns, run_id: str | None, account: str | None, known: Accounts | None) -> list[str]:
    """What may be wrong with a run and an account, as far as the ledger knows them; a sentence each."""
    found = [] if account is None or known is not None else _doubts_on_account(account, await ledger.known_runs())
    if run_id is None:
        return found
    keys = await ledger.known_runs(run_id)
    if not keys:
        found += [doubt] if (doubt := doubt_of_spelling(run_id, account, known)) else []
        likely = _likely(run_id, (key[1] for key in await ledger.known_runs()))
        hint = f" Did you mean {likely}?" if likely else ""
        return [*found, f"the ledger does not know run {run_id} (a daemon enters new runs within a minute).{hint}"]
    accounts = sorted({name for name, _ in keys})
    if account is not None and account not in accounts:
        return [*found, f"the ledger knows run {run_id} on account {', '.join(accounts)}, not on {account}."]
    return found


def _doubts_on_account(account: str, keys: Iterable[RunKey]) -> list[str]:
    names = sorted({name for name, _ in keys})
    if account in names:
        return []
    among = f"; the ledger knows {', '.join(names)}" if names else ""
    hint = suggestion(account, names)
    return [f"no configuration was found that says whether there is an account {shown(account)}{among}{hint or '.'}"]


def _likely(run_id: str, known: Iterable[str]) -> str | None:
    """The known id that a mistyped one was probably meant to be."""
    folded = run_id.casefold()
    head, tail = folded[:_SURE_CHARACTERS], folded[-_SURE_CHARACTERS:]
    near = [each for each in known if each.casefold().startswith(head) or each.casefold().endswith(tail)]
    return closest(run_id, near)
