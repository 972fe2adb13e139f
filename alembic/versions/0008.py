"""studies whose images were removed by retention, and what their reports are derived from

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("images_removed_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("revisions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("objects_sha256", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("revisions", schema=None) as batch_op:
        batch_op.drop_column("objects_sha256")
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_column("images_removed_at")
