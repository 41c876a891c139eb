"""What a link to a page or an API call of a platform names: people paste them where an id is wanted.

Apify: `console.apify.com/[organization/ID/]actors/ID/runs/ID`, `.../actors/tasks/ID/runs/ID`, `.../actors/runs/ID`,
`apify.com/OWNER/NAME`, `api.apify.com/v2/acts/OWNER~NAME`, `.../actor-runs/ID`. lobstr: `app.lobstr.io/...` and
`api.lobstr.io/v1/squids|runs|crawlers/ID`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlsplit

_HOSTS = re.compile(r"(?:[a-z0-9-]+\.)*(apify\.com|lobstr\.io)(?::[0-9]+)?", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
#: The part of a path before an id: the match key that the id is for.
_BEFORE = {
    "runs": "run_id", "actor-runs": "run_id", "run": "run_id",
    "actors": "actor", "acts": "actor", "tasks": "task", "actor-tasks": "task",
    "squids": "squid", "squid": "squid", "crawlers": "crawler", "crawler": "crawler",
}  # fmt: skip
_ID = re.compile(r"[A-Za-z0-9]{17}|[0-9a-f]{32}|[A-Za-z0-9_.-]+[~/][A-Za-z0-9-]+")


def is_link(text: str) -> bool:
    """Whether it is an address of a page, of whatever site."""
    return _SCHEME.match(text) is not None or is_platform_link(text)


def is_platform_link(text: str) -> bool:
    """Whether it is an address at Apify or lobstr, with or without `https://`."""
    host = _SCHEME.sub("", text, count=1).partition("/")[0]
    return "/" in text and _HOSTS.fullmatch(host) is not None


def named_by(link: str) -> Mapping[str, str]:
    """The ids and names in a link to one of the platforms, by match key; none for any other text."""
    if not is_platform_link(link):
        return {}
    parts = urlsplit(link if _SCHEME.match(link) else f"https://{link}")
    # Old addresses have the page in the fragment.
    steps = [unquote(step) for step in f"{parts.path}/{parts.fragment}".split("/") if step]
    pairs = [*pairwise(steps), *parse_qsl(parts.query)]
    found = {
        _BEFORE[before]: step.replace("~", "/") for before, step in pairs if before in _BEFORE and _ID.fullmatch(step)
    }
    if parts.netloc.lower() in ("apify.com", "www.apify.com") and len(steps) >= 2:
        found.setdefault("actor", "/".join(steps[:2]))
    return found
