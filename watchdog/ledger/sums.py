"""The sums over all aborts, kept beside them: in the transaction that completes a record, and exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

import msgspec
import sqlalchemy as sa

from watchdog.domain.decision import Abort
from watchdog.domain.sums import AbortGroup, AbortSums, Observations, sum_up
from watchdog.ledger.schema import abort_sums, aborts

#: Records read at a time: all of them would not fit into the memory of a small container.
_PORTION = 500
_DECODER = msgspec.json.Decoder(Abort)
_COUNTS = msgspec.json.Decoder(dict[str, int])

Sums = dict[AbortGroup, AbortSums]


def keep(connection: sa.Connection, before: Abort | None, after: Abort | None) -> None:
    """Take into the sums that the one record has taken the place of the other; None: not one that counts yet."""
    for group, change in _changes(before, after):
        found = connection.execute(sa.select(abort_sums).where(*_is(group))).mappings().one_or_none()
        summed = change if found is None else _sums_of(found).plus(change)
        if found is None:
            connection.execute(sa.insert(abort_sums), _row(group, summed))
        elif summed.aborts:
            connection.execute(sa.update(abort_sums).where(*_is(group)).values(**_figures(summed)))
        else:
            connection.execute(sa.delete(abort_sums).where(*_is(group)))


def _changes(before: Abort | None, after: Abort | None) -> Iterator[tuple[AbortGroup, AbortSums]]:
    old = sum_up([before] if before is not None else [])
    new = sum_up([after] if after is not None else [])
    for group in {**old, **new}:
        change = new.get(group, AbortSums()).plus(old.get(group, AbortSums()), -1)
        if change != AbortSums():
            yield group, change


def read(connection: sa.Connection) -> Sums:
    """All of them; ValueError if they cannot be read."""
    rows = connection.execute(sa.select(abort_sums)).mappings().all()
    try:
        return {_group_of(row): _sums_of(row) for row in rows}
    except (ValueError, TypeError, ArithmeticError, msgspec.MsgspecError) as error:
        raise ValueError(f"sums over the aborts: {error}") from error


def recomputed(connection: sa.Connection, illegible: Callable[[str, Exception], object] | None = None) -> Sums:
    """What they should be, from the records, a portion of these at a time. `illegible` is told of a record that cannot
    be read; without it that is raised."""
    found: Sums = {}
    for portion in _portions(connection, illegible):
        for group, summed in sum_up(portion).items():
            found[group] = found.get(group, AbortSums()).plus(summed)
    return found


def _portions(connection: sa.Connection, illegible: Callable[[str, Exception], object] | None) -> Iterator[list[Abort]]:
    last = ""
    while True:
        query = sa.select(aborts.c.id, aborts.c.record).where(aborts.c.id > last).order_by(aborts.c.id).limit(_PORTION)
        rows = connection.execute(query).all()
        if not rows:
            return
        yield list(_legible(rows, illegible))
        last = rows[-1].id


def _legible(rows: Iterable[Any], illegible: Callable[[str, Exception], object] | None) -> Iterator[Abort]:
    for row in rows:
        try:
            yield _DECODER.decode(row.record)
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            if illegible is None:
                raise
            illegible(row.id, error)


def replace_all(connection: sa.Connection, summed: Mapping[AbortGroup, AbortSums]) -> None:
    """Put these in the place of all there are."""
    connection.execute(sa.delete(abort_sums))
    if summed:
        connection.execute(sa.insert(abort_sums), [_row(group, each) for group, each in summed.items()])


def differences(kept: Mapping[AbortGroup, AbortSums], right: Mapping[AbortGroup, AbortSums]) -> list[str]:
    """A sentence for each figure of the sums that is not what the records say."""
    found = []
    for group in sorted({**kept, **right}):
        mine, theirs = _figures(kept.get(group, AbortSums())), _figures(right.get(group, AbortSums()))
        where = " ".join(f"{name}={value}" for name, value in group._asdict().items() if value)
        found += [
            f"{where}: {name} is {mine[name]}, and by the records {theirs[name]}"
            for name in mine
            if mine[name] != theirs[name]
        ]
    return found


def faults(connection: sa.Connection, *, repair: bool = False) -> list[str]:
    """A sentence for each record that cannot be read, and for each figure of the sums that is not that of the records;
    `repair` computes the sums anew."""
    found: list[str] = []

    def illegible(abort_id: str, error: Exception) -> None:
        found.append(f"the record of abort {abort_id} cannot be read: {error}")

    right = recomputed(connection, illegible)
    try:
        kept = read(connection)
        found += differences(kept, right)
    except ValueError as error:
        kept = {}
        found.append(f"what cannot be read: {error}")
    if repair and kept != right:
        replace_all(connection, right)
    return found


# --- rows ------------------------------------------------------------------------------------------------------------


def _is(group: AbortGroup) -> list[sa.ColumnElement[bool]]:
    return [abort_sums.c[_COLUMNS.get(name, name)] == value for name, value in group._asdict().items()]


#: Columns that have another name than the field: as the table of aborts calls them.
_COLUMNS = {"limit": "limit_kind"}
_EXACT = ("saved_credits", "saved_usd", "taken_back_credits", "taken_back_usd")
_OBSERVED = ("seconds", "overshoot")


def _row(group: AbortGroup, summed: AbortSums) -> dict[str, Any]:
    return {_COLUMNS.get(name, name): value for name, value in group._asdict().items()} | _figures(summed)


def _figures(summed: AbortSums) -> dict[str, Any]:
    figures: dict[str, Any] = {"aborts": summed.aborts}
    for name in _EXACT:
        figures[name] = as_decimal(getattr(summed, name))
    for name in _OBSERVED:
        observed: Observations = getattr(summed, name)
        counts = {_bound(bound): count for bound, count in sorted(observed.counts.items())}
        figures[f"{name}_counts"] = msgspec.json.encode(counts).decode()
        figures[f"{name}_total"] = as_decimal(observed.total)
    return figures


def _bound(value: float) -> str:
    return repr(float(value))


def _group_of(row: sa.RowMapping) -> AbortGroup:
    return AbortGroup(*(row[_COLUMNS.get(name, name)] for name in AbortGroup._fields))


def _sums_of(row: sa.RowMapping) -> AbortSums:
    values: dict[str, Any] = {"aborts": row["aborts"]}
    for name in _EXACT:
        values[name] = Fraction(row[name])
    for name in _OBSERVED:
        counts = {float(bound): count for bound, count in _COUNTS.decode(row[f"{name}_counts"]).items()}
        values[name] = Observations(counts, Fraction(row[f"{name}_total"]))
    return AbortSums(**values)


assert {*_EXACT, *_OBSERVED, "aborts"} == {field.name for field in fields(AbortSums)}


def as_decimal(exact: Fraction) -> str:
    """A sum of floats to its last digit, which it has, since they are sums of powers of two."""
    places = exact.denominator.bit_length() - 1
    if exact.denominator != 1 << places:
        raise ValueError(f"{exact} is no sum of floats")
    digits = str(abs(exact.numerator) * 5**places).rjust(places + 1, "0")
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{text}" if exact < 0 else text
