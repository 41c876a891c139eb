"""How long runs were seen running, so that a restart does not forget it where the platform gives no running time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("seen_running_s", sa.Float()))


def downgrade() -> None:
    op.drop_column("runs", "seen_running_s")
