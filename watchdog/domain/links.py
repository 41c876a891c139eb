"""What a link to a page or an API call of a platform names: people paste them where an id is wanted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlsplit

from watchdog.domain.platform import Links, PlatformTraits

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_link(text: str, platforms: Collection[PlatformTraits]) -> bool:
    """Whether it is an address of a page, of whatever site, or without `https://` one at these platforms."""
    return _SCHEME.match(text) is not None or is_platform_link(text, platforms)


def is_platform_link(text: str, platforms: Collection[PlatformTraits]) -> bool:
    """Whether it is an address at one of these platforms, with or without `https://`."""
    return _links_of(text, platforms) is not None


def named_by(link: str, platforms: Collection[PlatformTraits]) -> Mapping[str, str]:
    """The ids and names in a link to one of these platforms, by match key; none for any other text. An id may look like
    that of any of them: whether it is one is for others to say."""
    links = _links_of(link, platforms)
    if links is None:
        return {}
    parts = urlsplit(link if _SCHEME.match(link) else f"https://{link}")
    # Old addresses have the page in the fragment.
    steps = [unquote(step) for step in f"{parts.path}/{parts.fragment}".split("/") if step]
    looks = [traits.links.id for traits in platforms if traits.links is not None]
    found = {
        links.before[before]: step.replace("~", "/")
        for before, step in [*pairwise(steps), *parse_qsl(parts.query)]
        if before in links.before and any(re.fullmatch(look, step) for look in looks)
    }
    if links.name_key and parts.netloc.lower() in (links.domain, f"www.{links.domain}") and len(steps) >= 2:
        found.setdefault(links.name_key, "/".join(steps[:2]))
    return found


def run_pages(platforms: Iterable[PlatformTraits], run_id: str) -> list[str]:
    """Where this run would have its page on each of these platforms, as far as that is known."""
    links = (traits.links for traits in platforms)
    return [each.run.format(run_id=run_id) for each in links if each is not None and each.run]


def _links_of(text: str, platforms: Collection[PlatformTraits]) -> Links | None:
    host = _SCHEME.sub("", text, count=1).partition("/")[0]
    if "/" not in text:
        return None
    known = (traits.links for traits in platforms if traits.links is not None)
    return next((links for links in known if _is_at(host, links.domain)), None)


def _is_at(host: str, domain: str) -> bool:
    return re.fullmatch(rf"(?:[a-z0-9-]+\.)*{re.escape(domain)}(?::[0-9]+)?", host, re.IGNORECASE) is not None
