"""What an Apify run costs, where Apify's own total is not there; and how many results it was charged for.

Facts used (Apify's OpenAPI description, Run): `usageTotalUsd` is what is paid for the run, but it is missing in lists
for users of pay-per-event Actors, missing everywhere for pay-per-result ones, and lags some seconds behind charged
events. `chargedEventCounts` x `pricingInfo.pricingPerEvent.actorChargeEvents.*.eventPriceUsd` is what the events cost;
`pricingInfo.pricePerUnitUsd` x the items of the default dataset is what the results cost. Prices may depend on the
user's plan (`eventTieredPricingUsd`, `tieredPricing`), which a run does not show: then the lowest is what it has cost
at least and the highest what at most. Of a run whose user also pays for the platform, events are only a part.
Apify itself charges `apify-default-dataset-item` for every item of the default dataset and `apify-actor-start` at every
start; `isPrimaryEvent` marks the event that an Actor is mainly paid by, `isOneTimeEvent` one that comes once a run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from watchdog.domain.run import CostBasis
from watchdog.platforms.wire import count, figure, part, text


class PricedRun(Protocol):
    """The parts of a run's detail that say what it costs; any of them may be missing or unreadable."""

    usage_total_usd: object
    pricing_info: object
    charged_event_counts: object
    default_dataset_id: object


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars; None: not known. `most_usd`: it may have been as much as that (inf: nobody knows)."""

    usd: float | None = None
    basis: CostBasis | None = None
    most_usd: float | None = None


UNKNOWN = Cost()


def priced_dataset(run: PricedRun) -> str | None:
    """The dataset whose items must be counted to know what the run costs; None if that is known otherwise, or never."""
    if figure(run.usage_total_usd):
        return None
    is_per_item = part(run.pricing_info).get("pricingModel") == "PRICE_PER_DATASET_ITEM"
    return text(run.default_dataset_id) if is_per_item else None


def cost(run: PricedRun, items: int | None) -> Cost:
    """By Apify's own total if it is there, else by what was charged or delivered. `items`: of the default dataset."""
    total, pricing = figure(run.usage_total_usd), part(run.pricing_info)
    if total:
        return Cost(total, CostBasis.PLATFORM)
    derived = UNKNOWN
    if pricing.get("pricingModel") == "PAY_PER_EVENT":
        derived = _by_events(pricing, part(run.charged_event_counts))
    elif pricing.get("pricingModel") == "PRICE_PER_DATASET_ITEM" and items is not None:
        derived = _by_items(pricing, items)
    if derived.usd is None and total is not None:
        # The total of a run that has cost nothing so far.
        return Cost(total, CostBasis.PLATFORM)
    return derived


def charged_results(run: PricedRun) -> int | None:
    """How many results a run was charged for, where the Actor is paid by them: items of the default dataset, else its
    primary event, else the only event that can come more than once. None: it is not, or which events are results is not
    known."""
    pricing, charged = part(run.pricing_info), part(run.charged_event_counts)
    prices = part(part(pricing.get("pricingPerEvent")).get("actorChargeEvents"))
    if pricing.get("pricingModel") != "PAY_PER_EVENT":
        return None
    if _ITEM_EVENT in prices:
        return count(charged.get(_ITEM_EVENT))
    repeated = {
        event: part(details)
        for event, details in prices.items()
        if part(details).get("isOneTimeEvent") is not True and not _STARTS.search(event)
    }
    primary = [event for event, details in repeated.items() if details.get("isPrimaryEvent") is True]
    events = primary or list(repeated)
    return count(charged.get(events[0])) if len(events) == 1 else None


_ITEM_EVENT = "apify-default-dataset-item"
#: Events of starts, by their names, whatever is said of them: they come again with every resurrection.
_STARTS = re.compile(r"(?i)(^|[-_ ])(start|started|init)($|[-_ ])")


def _by_events(pricing: Mapping[str, object], charged: Mapping[str, object]) -> Cost:
    prices = part(part(pricing.get("pricingPerEvent")).get("actorChargeEvents"))
    counts = {event: count(number) for event, number in charged.items()}
    if not counts or all(number is None for number in counts.values()):
        return UNKNOWN
    least = most = 0.0
    for event, number in counts.items():
        low, high = _event_price(part(prices.get(event)))
        if number != 0:
            least += low * (number or 0)
            most += high * (number or math.inf)
    if pricing.get("isPPEPlatformUsagePaidByUser") is True:
        most = math.inf
    return _between(least, most, CostBasis.EVENTS)


def _by_items(pricing: Mapping[str, object], items: int) -> Cost:
    low, high = _range(
        pricing.get("pricePerUnitUsd"),
        (part(tier).get("tieredPricePerUnitUsd") for tier in part(pricing.get("tieredPricing")).values()),
    )
    if math.isinf(high):
        return UNKNOWN
    return _between(low * items, high * items, CostBasis.ITEMS)


def _event_price(event: Mapping[str, object]) -> tuple[float, float]:
    tiers = part(event.get("eventTieredPricingUsd")).values()
    return _range(event.get("eventPriceUsd"), (part(tier).get("tieredEventPriceUsd") for tier in tiers))


def _range(flat: object, tiered: Iterable[object]) -> tuple[float, float]:
    """The lowest and the highest that a price can be; from 0 to inf if it is not known."""
    if (price := figure(flat)) is not None:
        return price, price
    known = [price for each in tiered if (price := figure(each)) is not None]
    return (min(known), max(known)) if known else (0.0, math.inf)


def _between(least: float, most: float, basis: CostBasis) -> Cost:
    return Cost(least, basis, most if most > least else None)
