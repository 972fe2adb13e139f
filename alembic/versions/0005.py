"""procedure steps: what readers and watchers say, and events on their way

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "ups_steps",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("study_id", _KEY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=True),
        sa.Column("performer", sa.String(length=16), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_revision", sa.Integer(), nullable=True),
        sa.Column("performed", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reported_state", sa.String(length=16), nullable=False),
        sa.Column("reported_rank", sa.Integer(), nullable=False),
        sa.Column("reported_ready", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_ups_steps_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ups_steps")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_ups_steps_sop_instance_uid")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_ups_steps_study_id_number")),
    )
    with op.batch_alter_table("ups_steps", schema=None) as batch_op:
        batch_op.create_index("ix_ups_steps_state", ["state"], unique=False)
    op.create_table(
        "ups_global_subscriptions",
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.Column("last_step_id", _KEY, nullable=True),
        sa.Column("greeted_step_id", _KEY, nullable=True),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_ups_global_subscriptions")),
    )
    op.create_table(
        "ups_subscriptions",
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("step_id", _KEY, autoincrement=False, nullable=False),
        sa.Column("subscribed", sa.Boolean(), nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["step_id"], ["ups_steps.id"], name=op.f("fk_ups_subscriptions_step_id")),
        sa.PrimaryKeyConstraint("ae_title", "step_id", name=op.f("pk_ups_subscriptions")),
    )
    op.create_table(
        "ups_events",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("event_type", sa.Integer(), nullable=False),
        sa.Column("information", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("claimed_by", sa.String(length=64), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ups_events")),
    )
    with op.batch_alter_table("ups_events", schema=None) as batch_op:
        batch_op.create_index("ix_ups_events_due", ["ae_title", "next_attempt_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("ups_events", schema=None) as batch_op:
        batch_op.drop_index("ix_ups_events_due")
    op.drop_table("ups_events")
    op.drop_table("ups_subscriptions")
    op.drop_table("ups_global_subscriptions")
    with op.batch_alter_table("ups_steps", schema=None) as batch_op:
        batch_op.drop_index("ix_ups_steps_state")
    op.drop_table("ups_steps")
