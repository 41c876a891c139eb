"""How fast runs used up what they used, for forecasts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "burn_rates",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.String(32), nullable=False),
        sa.Column("credits_per_s", sa.Float()),
        sa.Column("usd_per_s", sa.Float()),
        sa.Column("credits", sa.Float()),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("duration_s", sa.Float()),
        sa.Column("ended_by_itself", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_burn_rates_source_id", "burn_rates", ["source_id", "ended_at"])
    op.create_index("ix_burn_rates_ended_at", "burn_rates", ["ended_at"])


def downgrade() -> None:
    op.drop_table("burn_rates")
