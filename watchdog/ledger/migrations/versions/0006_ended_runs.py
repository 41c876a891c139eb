"""One table of runs that are over: what a run used and how fast it burned were two rows of two tables.

Both were written at the end of a run, one after the other, with the same figures. Where only one of them was, or the
two do not say the same, the later end counts, as it does whenever a run ends more than once. The larger table stays and
gets another name, so that the disk need not have room for a copy.

Both tables of figures get a column for those of meters that have none of their own, so that a further meter needs no
migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FIGURES = ("credits", "cost_usd", "duration_s")
_INDEXES = {"source_id": ["source_id", "ended_at"], "ended_at": ["ended_at"]}
_WITH_OTHERS = ("runs", "ended_runs")
_finished = sa.table(
    "finished_runs", *map(sa.column, ("account", "run_id", "source_id", "state", *_FIGURES, "finished_at"))
)
_ended = sa.table(
    "ended_runs", *map(sa.column, ("account", "run_id", "source_id", "ended_at", *_FIGURES, "ended_by_itself"))
)
_same_run = sa.and_(_ended.c.account == _finished.c.account, _ended.c.run_id == _finished.c.run_id)


def upgrade() -> None:
    _rename("burn_rates", "ended_runs")
    _take_later_ends()
    _take_ends_without_rates()
    op.drop_table("finished_runs")
    for table in _WITH_OTHERS:
        op.add_column(table, sa.Column("others", sa.Text()))


def _rename(old: str, new: str) -> None:
    for name in _INDEXES:
        op.drop_index(f"ix_{old}_{name}", old)
    op.rename_table(old, new)
    for name, columns in _INDEXES.items():
        op.create_index(f"ix_{new}_{name}", new, columns)


def _take_later_ends() -> None:
    """An end by itself after an abort."""
    is_later = sa.and_(_same_run, _finished.c.finished_at > _ended.c.ended_at)
    values = {name: sa.select(value).where(_same_run).scalar_subquery() for name, value in _as_ended().items()}
    op.execute(sa.update(_ended).where(sa.exists().where(is_later)).values(values))


def _take_ends_without_rates() -> None:
    """Of a ledger begun before there were any, or of a process killed between the two writes."""
    values = {"account": _finished.c.account, "run_id": _finished.c.run_id, **_as_ended()}
    rows = sa.select(*values.values()).where(~sa.exists().where(_same_run))
    op.execute(sa.insert(_ended).from_select(list(values), rows))


def _as_ended() -> dict[str, sa.ColumnElement[object]]:
    """What a row of the one table says in the other, where a figure below 0 was always stored as none."""
    figures = {name: sa.case((_finished.c[name] >= 0, _finished.c[name])) for name in _FIGURES}
    return {
        "source_id": _finished.c.source_id,
        "ended_at": _finished.c.finished_at,
        "ended_by_itself": sa.true(),
        **figures,
    }


def downgrade() -> None:
    for table in _WITH_OTHERS:
        op.drop_column(table, "others")
    op.create_table(
        "finished_runs",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("credits", sa.Float()),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("duration_s", sa.Float()),
        sa.Column("finished_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_finished_runs_source_id", "finished_runs", ["source_id"])
    op.create_index("ix_finished_runs_finished_at", "finished_runs", ["finished_at"])
    ended = _ended.c
    figures = [ended[name] for name in _FIGURES]
    # Which of its ends a run came to is not kept.
    rows = sa.select(ended.account, ended.run_id, ended.source_id, sa.literal("unknown"), *figures, ended.ended_at)
    op.execute(sa.insert(_finished).from_select(list(_finished.c.keys()), rows.where(ended.ended_by_itself)))
    _rename("ended_runs", "burn_rates")
