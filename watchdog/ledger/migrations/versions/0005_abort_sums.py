"""What all aborts add up to, so that a start need not read them all; and their runs in an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from watchdog.ledger import sums

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "abort_sums",
        sa.Column("platform", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("rule", sa.Text(), primary_key=True),
        sa.Column("limit_kind", sa.String(32), primary_key=True),
        sa.Column("asked_mode", sa.String(16), primary_key=True),
        sa.Column("mode", sa.String(16), primary_key=True),
        sa.Column("state", sa.String(32), primary_key=True),
        sa.Column("basis", sa.String(16), primary_key=True),
        sa.Column("aborts", sa.Integer(), nullable=False),
        sa.Column("saved_credits", sa.Text(), nullable=False),
        sa.Column("saved_usd", sa.Text(), nullable=False),
        sa.Column("taken_back_credits", sa.Text(), nullable=False),
        sa.Column("taken_back_usd", sa.Text(), nullable=False),
        sa.Column("seconds_counts", sa.Text(), nullable=False),
        sa.Column("seconds_total", sa.Text(), nullable=False),
        sa.Column("overshoot_counts", sa.Text(), nullable=False),
        sa.Column("overshoot_total", sa.Text(), nullable=False),
    )
    op.create_index("ix_aborts_run_id", "aborts", ["run_id"])
    connection = op.get_bind()
    # A record that cannot be read is told of where it is asked for; it must not keep the others from being guarded.
    sums.replace_all(connection, sums.recomputed(connection, lambda *_: None))


def downgrade() -> None:
    op.drop_index("ix_aborts_run_id", "aborts")
    op.drop_table("abort_sums")
