"""lobstr's catalogue: crawlers, and the types of account that some of them log in with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

ID_ALPHABET: Final = "0123456789abcdef"
ID_LENGTH: Final = 32


def made_id(text: str) -> str:
    """An id of 32 hex digits that is always the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


class LobstrCrawler(msgspec.Struct, frozen=True, kw_only=True):
    """A crawler: a scraper that squids are made on."""

    id: str
    name: str
    task_params: tuple[str, ...] = ("url",)
    """What a task may say; the first is required."""
    functions: Mapping[str, float] = {}
    """Add-ons, and the credits that each costs a row."""
    account_type: str | None = None
    """What kind of account it logs in with; None: none."""
    credits_per_row: float = 1.0
    credits_per_email: float | None = None
    """For verifying an address that was found; None: it finds none."""
    max_concurrency: int = 20

    @property
    def slug(self) -> str:
        return self.name.lower().replace(" ", "-")

    def document(self) -> dict[str, Any]:
        """An item of the catalogue."""
        kind = ACCOUNT_TYPES.get(self.account_type or "")
        return {
            "id": self.id,
            "object": "crawler",
            "account": None if kind is None else {key: kind[key] for key in ("type", "baseurl", "cookies")},
            "name": self.name,
            "slug": self.slug,
            "icon": "",
            "is_public": True,
            "is_available": True,
            "is_premium": False,
            "has_issues": False,
            "has_email_verification": self.credits_per_email is not None,
            "max_concurrency": self.max_concurrency,
            "credits_per_row": self.credits_per_row,
            "credits_per_email": self.credits_per_email,
        }

    def detail(self) -> dict[str, Any]:
        """A crawler by itself."""
        tasks = [
            {"name": name, "type": "string", "level": "task", "required": number == 0, "default": None}
            for number, name in enumerate(self.task_params)
        ]
        add_ons = [
            {
                "name": name,
                "type": "boolean",
                "level": "squid",
                "function": True,
                "required": False,
                "default": False,
                "credits_per_function": price,
            }
            for name, price in self.functions.items()
        ]
        most = {"name": "max_results", "type": "int", "level": "squid", "required": False, "default": None}
        return {**self.document(), "input": [*tasks, most, *add_ons], "result": ["name", "url"]}

    def params(self) -> dict[str, Any]:
        """What tasks and squids may set."""
        return {
            "task": {
                name: {
                    "type": "string",
                    "group": name,
                    "regex": None,
                    "default": None,
                    "required": number == 0,
                    "attribute": name,
                    "is_params": number > 0,
                }
                for number, name in enumerate(self.task_params)
            },
            "squid": {
                "max_results": {"type": "int", "default": None, "required": False, "attribute": "max_results"},
                "functions": {
                    name: {"sort": number, "default": False, "credits_per_function": price}
                    for number, (name, price) in enumerate(self.functions.items())
                },
            },
        }

    def attributes(self) -> dict[str, Any]:
        """The columns of its results."""
        shared = {"type": "string", "example": None, "function": self.name, "is_main": True, "description": ""}
        return {"data": [{"name": "name", **shared}, {"name": "url", **shared}]}


def _account_type(name: str, domain: str, baseurl: str, *cookies: str) -> dict[str, Any]:
    return {
        "id": made_id(name),
        "object": "account_type",
        "name": name,
        "type": name,
        "icon": "",
        "domain": domain,
        "params": {},
        "baseurl": baseurl,
        "cookies": [{"name": cookie, "required": True} for cookie in cookies],
    }


ACCOUNT_TYPES: Final[Mapping[str, dict[str, Any]]] = {
    kind["name"]: kind
    for kind in (
        _account_type("facebook-sync", "Facebook", "https://www.facebook.com", "c_user", "xs"),
        _account_type("linkedin-sync", "LinkedIn", "https://www.linkedin.com", "li_at", "JSESSIONID"),
        _account_type("twitter-sync", "Twitter", "https://x.com", "auth_token", "ct0"),
    )
}


def _crawler(name: str, **more: Any) -> LobstrCrawler:
    return LobstrCrawler(id=made_id(name), name=name, **more)


CRAWLERS: Final = (
    _crawler(
        "Google Maps Search Export",
        task_params=("url", "city", "country", "category"),
        functions={"extract_emails_from_website": 10.0, "collect_business_details": 10.0},
        credits_per_email=1.0,
    ),
    _crawler("Twitter Profile Scraper", credits_per_row=2.0),
    _crawler("LinkedIn Profile Scraper", account_type="linkedin-sync", credits_per_row=3.0, max_concurrency=10),
)
