"""How an Actor charges: by event, or by result.

Shapes: PayPerEventActorPricingInfo and PricePerDatasetItemActorPricingInfo of Apify's API description. An Actor without
either is paid by its platform usage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

Curve = Callable[[float], float]
"""Running seconds -> an amount so far; monotone."""
Price = float | Mapping[str, float]
"""USD, or USD by subscription tier (FREE, BRONZE, SILVER, GOLD, PLATINUM, DIAMOND)."""

START_EVENT: Final = "apify-actor-start"
"""Charged by the platform itself at every start, a resurrection's included."""


class Work(msgspec.Struct, frozen=True):
    """What a run has done that may be charged."""

    ran_s: float
    starts: int
    results: int
    charged: Mapping[str, int] = {}
    """Events charged by the call for it."""


class PayPerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Pays by event (PAY_PER_EVENT).

    `events`: name -> price. `counts`: how often an event was charged, by running seconds; left out,
    `apify-actor-start` counts the starts and every other event the results. `usage_usd_per_hour`: platform usage that
    the user pays on top (`platformUsageBillingModel: USER`). `tier`: whose prices hold.
    """

    events: Mapping[str, Price]
    counts: Mapping[str, Curve] = {}
    usage_usd_per_hour: float = 0.0
    tier: str = "FREE"

    def event_counts(self, work: Work) -> dict[str, int]:
        """How often each event has been charged, as `chargedEventCounts` has it."""
        return {name: self._count(name, work) + work.charged.get(name, 0) for name in self.events}

    def usd(self, work: Work) -> float:
        charged = sum(count * _price(self.events[name], self.tier) for name, count in self.event_counts(work).items())
        return charged + work.ran_s * self.usage_usd_per_hour / 3600

    def document(self, since: str) -> dict[str, Any]:
        """`pricingInfo` of a run; `since`: when the prices were set."""
        events = {name: _event(name, price) for name, price in self.events.items()}
        return {
            **_common(since),
            "pricingModel": "PAY_PER_EVENT",
            "pricingPerEvent": {"actorChargeEvents": events},
            "minimalMaxTotalChargeUsd": None,
        }

    def _count(self, name: str, work: Work) -> int:
        if (curve := self.counts.get(name)) is not None:
            return int(curve(work.ran_s))
        return work.starts if name == START_EVENT else work.results


class PayPerResult(msgspec.Struct, frozen=True, kw_only=True):
    """Pays by item of the default dataset (PRICE_PER_DATASET_ITEM). `tier`: whose price holds."""

    price: Price
    unit_name: str = "result"
    max_items: int | None = None
    """No more than these are charged (`maxItems` of the run)."""
    tier: str = "FREE"

    def usd(self, work: Work) -> float:
        items = work.results if self.max_items is None else min(work.results, self.max_items)
        return items * _price(self.price, self.tier)

    def document(self, since: str) -> dict[str, Any]:
        """`pricingInfo` of a run; `since`: when the price was set."""
        document = {**_common(since), "pricingModel": "PRICE_PER_DATASET_ITEM", "unitName": self.unit_name}
        if isinstance(self.price, Mapping):
            document["tieredPricing"] = {tier: {"tieredPricePerUnitUsd": usd} for tier, usd in self.price.items()}
        else:
            document["pricePerUnitUsd"] = self.price
        return document


Pricing = PayPerEvent | PayPerResult


def _price(price: Price, tier: str) -> float:
    return price[tier] if isinstance(price, Mapping) else price


def _event(name: str, price: Price) -> dict[str, Any]:
    title = name.replace("-", " ").capitalize()
    event: dict[str, Any] = {"eventTitle": title, "eventDescription": f"{title}."}
    if isinstance(price, Mapping):
        event["eventTieredPricingUsd"] = {tier: {"tieredEventPriceUsd": usd} for tier, usd in price.items()}
    else:
        event["eventPriceUsd"] = price
    return event


def _common(since: str) -> dict[str, Any]:
    return {"apifyMarginPercentage": 0.2, "createdAt": since, "startedAt": since}
