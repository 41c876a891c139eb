"""The tables. Times are UTC in ISO 8601 text, so that the file can be read with any tool; they sort as text.

`aborts.record` is the whole record as JSON; the other columns are drawn from it at each save, for queries and for
people who check a figure by hand. `others` is JSON: figures of meters, and `..._per_s`, their rates, that a table has
no column for.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

#: The revisions in migrations/versions, oldest first; here because asking Alembic takes longer than most commands.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
HEAD = REVISIONS[-1]
#: Where Alembic notes the revision of a store.
VERSION_TABLE = "alembic_version"
#: An execution option of connections that are going to write.
WRITES = "ledger_writes"

#: As Alembic makes it; not among the other tables, since it is none of ours.
version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"},
)

aborts = Table(
    "aborts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("opened_at", String(32), nullable=False),
    Column("account", String(64), nullable=False),
    Column("platform", String(64), nullable=False),
    Column("run_id", String(128), nullable=False),
    Column("source", Text, nullable=False),
    Column("rule", String(128), nullable=False),
    Column("limit_kind", String(32), nullable=False),
    Column("limit_value", Float, nullable=False),
    Column("used_at_detection", Float, nullable=False),
    Column("used_at_request", Float),
    Column("mode", String(16), nullable=False),
    Column("state", String(32), nullable=False),
    Column("requests", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("stopped_at", String(32)),
    Column("final_credits", Float),
    Column("final_cost_usd", Float),
    Column("final_duration_s", Float),
    Column("projected_credits", Float),
    Column("projected_cost_usd", Float),
    Column("saved_credits", Float),
    Column("saved_usd", Float),
    Column("basis", String(16)),
    Column("basis_note", Text),
    Column("complete", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    Index("ix_aborts_opened_at", "opened_at"),
    Index("ix_aborts_complete", "complete"),
    Index("ix_aborts_run_id", "run_id"),
)

#: What complete aborts add up to, by what metrics tell them apart by. Amounts are exact decimals, as texts;
#: `..._counts` are JSON: how many figures fell below each bound of a histogram.
abort_sums = Table(
    "abort_sums",
    metadata,
    Column("platform", String(64), primary_key=True),
    Column("account", String(64), primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("limit_kind", String(32), primary_key=True),
    Column("asked_mode", String(16), primary_key=True),
    Column("mode", String(16), primary_key=True),
    Column("state", String(32), primary_key=True),
    Column("basis", String(16), primary_key=True),
    Column("aborts", Integer, nullable=False),
    Column("saved_credits", Text, nullable=False),
    Column("saved_usd", Text, nullable=False),
    Column("taken_back_credits", Text, nullable=False),
    Column("taken_back_usd", Text, nullable=False),
    Column("seconds_counts", Text, nullable=False),
    Column("seconds_total", Text, nullable=False),
    Column("overshoot_counts", Text, nullable=False),
    Column("overshoot_total", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("run_id", String(128), primary_key=True),
    Column("platform", String(64), nullable=False),
    Column("source_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("credits", Float),
    Column("cost_usd", Float),
    Column("duration_s", Float),
    Column("seen_running_s", Float),
    Column("started_at", String(32)),
    Column("seen_at", String(32), nullable=False),
    Column("others", Text),
    Index("ix_runs_seen_at", "seen_at"),
)

#: What runs that are over used, and how fast: the history of their sources.
ended_runs = Table(
    "ended_runs",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("run_id", String(128), primary_key=True),
    Column("source_id", Text, nullable=False),
    Column("ended_at", String(32), nullable=False),
    Column("credits_per_s", Float),
    Column("usd_per_s", Float),
    Column("credits", Float),
    Column("cost_usd", Float),
    Column("duration_s", Float),
    Column("ended_by_itself", Boolean, nullable=False),
    Column("others", Text),
    Index("ix_ended_runs_source_id", "source_id", "ended_at"),
    Index("ix_ended_runs_ended_at", "ended_at"),
)

overrides = Table(
    "overrides",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("run_id", String(128)),
    Column("account", String(64)),
    Column("created_at", String(32), nullable=False),
    Column("until", String(32)),
    Column("ended_at", String(32)),
    Column("reason", Text, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("run_id", String(128), nullable=False),
    Column("account", String(64)),
    Column("mode", String(16), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("answer", Text),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("renewals", Integer, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", String(255), nullable=False),
)
