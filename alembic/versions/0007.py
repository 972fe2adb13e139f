"""steps that nobody went on with, living receivers, what a list was asked for

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("ups_steps", schema=None) as batch_op:
        batch_op.add_column(sa.Column("abandoned", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("ups_steps", schema=None) as batch_op:
        batch_op.alter_column("abandoned", server_default=None)
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.add_column(sa.Column("asked", sa.String(length=128), nullable=True))
    op.create_table(
        "receivers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receivers")),
    )


def downgrade() -> None:
    op.drop_table("receivers")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_column("asked")
    with op.batch_alter_table("ups_steps", schema=None) as batch_op:
        batch_op.drop_column("abandoned")
