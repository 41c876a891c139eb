"""The first tables: aborts, runs, finished runs, overrides, orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aborts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rule", sa.String(128), nullable=False),
        sa.Column("limit_kind", sa.String(32), nullable=False),
        sa.Column("limit_value", sa.Float(), nullable=False),
        sa.Column("used_at_detection", sa.Float(), nullable=False),
        sa.Column("used_at_request", sa.Float()),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stopped_at", sa.String(32)),
        sa.Column("final_credits", sa.Float()),
        sa.Column("final_cost_usd", sa.Float()),
        sa.Column("final_duration_s", sa.Float()),
        sa.Column("projected_credits", sa.Float()),
        sa.Column("projected_cost_usd", sa.Float()),
        sa.Column("saved_credits", sa.Float()),
        sa.Column("saved_usd", sa.Float()),
        sa.Column("basis", sa.String(16)),
        sa.Column("basis_note", sa.Text()),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
    )
    op.create_index("ix_aborts_opened_at", "aborts", ["opened_at"])
    op.create_index("ix_aborts_complete", "aborts", ["complete"])
    op.create_table(
        "runs",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("credits", sa.Float()),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("duration_s", sa.Float()),
        sa.Column("started_at", sa.String(32)),
        sa.Column("seen_at", sa.String(32), nullable=False),
    )
    op.create_index("ix_runs_seen_at", "runs", ["seen_at"])
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
    op.create_table(
        "overrides",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("run_id", sa.String(128)),
        sa.Column("account", sa.String(64)),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("until", sa.String(32)),
        sa.Column("ended_at", sa.String(32)),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("account", sa.String(64)),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text()),
    )


def downgrade() -> None:
    for table in ("orders", "overrides", "finished_runs", "runs", "aborts"):
        op.drop_table(table)
