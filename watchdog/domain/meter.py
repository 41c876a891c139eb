"""What is counted of a run: each meter with all that is to be known of it, and the figures of all of them.

A new meter is one entry of `Meter` and one field of `Usage`: rule files, the engine, tables, metrics and the ledger
take whatever meters there are. What is left are the adapters of the platforms that know its figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Unit(StrEnum):
    """In what a meter counts: US dollars, seconds of running time, or a number of something."""

    USD = "usd"
    SECONDS = "seconds"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class _Entry:
    """All that is to be known of a meter.

    word: what it counts, in messages. field: its field of `Usage`. unit: in what it counts; one, several: what a number
    of it is called. rate_per_s: how fast it grows while the run is running, where that never varies; None: it has to be
    learned. booked: the name by which is booked what aborts save of it (fields of `Saving` and `AbortSums`, columns,
    metrics); "": it is not. lowest: hardly any run ends below this figure, so that a lower limit on every run of an
    account is doubtful. may_be_zero: whether a limit of 0 says something.
    """

    word: str
    field: str
    unit: Unit
    one: str = ""
    several: str = ""
    rate_per_s: float | None = None
    booked: str = ""
    lowest: float = 0.0
    may_be_zero: bool = True


class Meter(StrEnum):
    """What is counted of a run. The value is the key of its limit in rule files, and the `limit` label of metrics; the
    rest is what `_Entry` says."""

    entry: _Entry

    def __new__(cls, limit: str, entry: _Entry) -> Meter:
        meter = str.__new__(cls, limit)
        meter._value_ = limit
        meter.entry = entry
        return meter

    #: What the platform itself meters: lobstr credits, Apify compute units.
    CREDITS = (
        "max_credits",
        _Entry("credits", "credits", Unit.NUMBER, "credit", "credits", booked="credits", lowest=0.1),
    )
    #: Time actually spent running; stopped and paused time left out.
    DURATION = (
        "max_duration",
        _Entry("duration", "duration_s", Unit.SECONDS, rate_per_s=1.0, lowest=60.0, may_be_zero=False),
    )
    COST_USD = "max_cost_usd", _Entry("cost_usd", "cost_usd", Unit.USD, booked="usd", lowest=0.05)

    # Equality is that of the text; so may its hash be, which is C and not Python: these are keys in every sweep.
    __hash__ = str.__hash__

    @property
    def is_learned(self) -> bool:
        """Whether it grows as each run has it."""
        return self.entry.rate_per_s is None


#: The meter that each key of `limits` is about.
METER_OF = {meter.value: meter for meter in Meter}
#: Meters whose growth has to be learned, and those that savings are booked of.
LEARNED = tuple(meter for meter in Meter if meter.is_learned)
BOOKED = tuple(meter for meter in Meter if meter.entry.booked)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What a run has used so far, a field for each meter. `None` means the platform does not say, which is never the
    same as zero.

    credits: what the platform itself meters (lobstr credits, Apify compute units); cost_usd: US dollars;
    duration_s: seconds actually spent running, stopped and paused time left out.
    """

    credits: float | None = None
    cost_usd: float | None = None
    duration_s: float | None = None

    def of(self, meter: Meter) -> float | None:
        """The figure of this meter."""
        figure: float | None = getattr(self, meter.entry.field)
        return figure

    @property
    def figures(self) -> dict[str, float | None]:
        """Every figure by the name of its field, in their order."""
        return msgspec.structs.asdict(self)

    @classmethod
    def by(cls, figure: Callable[[Meter], float | None]) -> Usage:
        """Each figure as this tells it."""
        return cls(**{meter.entry.field: figure(meter) for meter in Meter})


#: The meters in the order of the fields of `Usage`, for what is too often done to name these.
IN_ORDER = tuple(sorted(Meter, key=lambda meter: Usage.__struct_fields__.index(meter.entry.field)))
NOTHING_KNOWN = Usage()
