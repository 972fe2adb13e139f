"""the list: when a study was last written

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE studies SET changed_at = last_slice_at")
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.alter_column("changed_at", nullable=False)
        batch_op.create_index(batch_op.f("ix_studies_changed_at"), ["changed_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_studies_changed_at"))
        batch_op.drop_column("changed_at")
