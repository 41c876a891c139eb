"""What is to be known of a platform: stated once, beside its adapter, and handed to whoever wants it (the runtime, rule
files, settings, messages). No other module knows a platform by name.

Imports nothing that takes time to load: the command line asks it before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How a run is asked to stop."""

    GRACEFUL = "graceful"
    IMMEDIATE = "immediate"


@dataclass(frozen=True, slots=True)
class CreditWords:
    """What a platform calls the credits that it meters, where it has a word of its own: one and several of them, and
    the keys that people write for a limit on them."""

    one: str
    several: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters that the values of a match key are made of: a regular expression for one, and a sentence."""

    one: str
    words: str


@dataclass(frozen=True, slots=True)
class Spelling:
    """What ids and origins look like, and what the values of each match key are made of; a key that is not in
    `alphabets` may be any text.

    `id`: a regular expression, and `id_words` the same for people. `hex_ids`: they are 32 hexadecimal digits in lower
    case. `origins`: those that runs have been seen to have; `all_origins`: there are no others.
    """

    id: str
    id_words: str
    origins: tuple[str, ...]
    all_origins: bool = False
    hex_ids: bool = False
    alphabets: Mapping[str, Alphabet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Links:
    """What the addresses of a platform's pages and API calls name: `domain` with all below it; `before`: the match key
    of an id by the word in front of it; `id`: what such an id, or name, looks like. `run`: the address of a run's page
    for people, with `{run_id}`; "" if none is known. `name_key`: the match key of OWNER/NAME on the domain itself."""

    domain: str
    before: Mapping[str, str]
    id: str
    run: str = ""
    name_key: str = ""


@dataclass(frozen=True, slots=True)
class PlatformTraits:
    """The facts of a platform, times in seconds. A plug-in need only give the first five.

    `modes`: how it can abort. `graceful_window_s`: how long it lets a run live after a graceful abort.
    `settle_s`: how long after the end its figures may still change. `default_poll_interval_s`: None is `auto`.
    `sweep_shows_usage`: whether a sweep shows what every run has used at no extra calls; where each run costs a call,
    the runtime looks at them one by one, each when its time has come. `may_metamorph`: whether a run may
    become one of another source, which only an inspection shows for sure.

    `meters`: those that its runs can show, by their keys in `limits`, so that a limit that can never be judged is told;
    None: not stated. `extra_meters`: those of them that cost a call of their own in an inspection, and are only read
    where they are asked for.
    `match_keys`: the keys of rules that its runs have besides those of every run.
    `prices`: whether it says what a run costs in USD; if not, an account needs `usd_per_credit` for that.
    `title`: its name in sentences. `credits`: its word for what it meters; None is "credits". `token_variable` and
    `address_variable`: what its own tools call them; with no configuration the first makes an account.
    `token_prefix`: how its tokens begin. `spelling`: what match values look like; None: they may be any text.
    """

    name: str
    modes: frozenset[Mode]
    graceful_window_s: float
    settle_s: float
    default_poll_interval_s: float | None
    sweep_shows_usage: bool = True
    may_metamorph: bool = False
    match_keys: tuple[str, ...] = ()
    prices: bool = True
    title: str = ""
    credits: CreditWords | None = None
    token_variable: str = ""
    address_variable: str = ""
    token_prefix: str = ""
    spelling: Spelling | None = None
    links: Links | None = None
    meters: tuple[str, ...] | None = None
    extra_meters: tuple[str, ...] = ()


#: The platforms there are, by name.
Platforms = Mapping[str, PlatformTraits]
