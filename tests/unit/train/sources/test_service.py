"""The service's own studies with the radiologists' feedback."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.errors import DatabaseVersionError, TrainingDataError
from ich_triage.keeping.retention import Retention
from ich_triage.store import feedback
from ich_triage.store.database import Database
from ich_triage.store.feedback import Opinion
from ich_triage.store.tables import Revision
from tests.feedback import add_study
from tests.heads import SLICES
from tests.keeping import age, keeping
from train.sources.scan import Scanner
from train.sources.service import ServiceSource
from train.sources.source import STUDY_LABELS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "1.2.3"


@pytest.fixture
def source(sqlite: Database, tmp_path: Path) -> ServiceSource:
    """A service with one flagged study in its spool."""
    add_study(sqlite, tmp_path / "spool", UID, clot=True)
    config = tmp_path / "site.toml"
    database, spool = json.dumps(str(sqlite.url)), json.dumps(str(tmp_path / "spool"))
    config.write_text(f"[database]\nurl = {database}\n[spool]\npath = {spool}\n")
    return ServiceSource(kind="service", name="site", config=config)


def _give(
    sqlite: Database, reader: str, *, agrees: bool, subtypes: Iterable[Subtype] | None = None, minute: int = 0
) -> None:
    named = None if subtypes is None else frozenset(subtypes)
    with sqlite.write() as session:
        (revision,) = session.query(Revision)
        opinion = Opinion(reader=reader, agrees=agrees, subtypes=named)
        feedback.give(session, revision, opinion, NOW + timedelta(minutes=minute))


def _labels(source: ServiceSource, scanner: Scanner) -> tuple[list[float], list[str]]:
    """Study labels with −1 for unknown, and the labels that readers dispute."""
    table = source.table(scanner)
    labels = table.rows[list(STUDY_LABELS)].iloc[0].to_numpy(dtype=float, na_value=-1)
    return labels.tolist(), table.problems["where"].str.split().str[-1].to_list()


def test_agreement_with_subtypes_labels_the_study(
    sqlite: Database, source: ServiceSource, scanner: Scanner
) -> None:
    """The study comes from the spool with what the reader saw, and the volume that the service analysed."""
    _give(sqlite, "ann", agrees=True, subtypes=[Subtype.SUBDURAL])
    rows = source.table(scanner).rows
    study = source.load(rows)
    assert study.study_labels.tolist() == [1, 0, 0, 0, 0, 1]
    assert np.isnan(study.slice_labels).all() and len(study.volume.hu) == SLICES


def test_what_readers_leave_open_or_dispute_is_unknown(
    sqlite: Database, source: ServiceSource, scanner: Scanner
) -> None:
    """No subtypes named: unknown. Two readers, two subtypes: those two are disputed. One bleed, none: all."""
    _give(sqlite, "ann", agrees=True)
    assert _labels(source, scanner) == ([1, -1, -1, -1, -1, -1], [])
    _give(sqlite, "ann", agrees=True, subtypes=[SUBTYPES[0]], minute=1)
    _give(sqlite, "bob", agrees=True, subtypes=[SUBTYPES[1]], minute=1)
    assert _labels(source, scanner) == ([1, -1, -1, 0, 0, 0], ["epidural", "intraparenchymal"])
    _give(sqlite, "ann", agrees=False, minute=2)
    labels, disputed = _labels(source, scanner)
    assert labels == [-1] * 6 and "any" in disputed
    _give(sqlite, "bob", agrees=False, minute=3)
    assert _labels(source, scanner) == ([0] * 6, [])


def test_a_lost_image_is_listed(
    sqlite: Database, source: ServiceSource, scanner: Scanner, tmp_path: Path
) -> None:
    """What the spool no longer has does not vanish in silence."""
    _give(sqlite, "ann", agrees=True)
    lost = next((tmp_path / "spool").rglob("*.dcm"))
    lost.unlink()
    table = source.table(scanner)
    assert table.problems["kind"].to_list() == ["labels_without_file"]
    assert len(table.rows) == SLICES - 1


def test_no_feedback_and_no_schema_are_said(source: ServiceSource, scanner: Scanner, tmp_path: Path) -> None:
    """Each with its remedy."""
    with pytest.raises(TrainingDataError, match="no feedback yet: radiologists give it first"):
        source.table(scanner)
    source.config.write_text(f"[database]\nurl = {json.dumps(f'sqlite:///{tmp_path}/new.sqlite')}\n")
    with pytest.raises(DatabaseVersionError, match="ich-triage db upgrade"):
        source.table(scanner)


def test_images_that_retention_removed_are_named_with_the_date(
    sqlite: Database, source: ServiceSource, scanner: Scanner, tmp_path: Path
) -> None:
    """A label whose images are gone is listed with when and why, and costs no other."""
    _give(sqlite, "ann", agrees=True)
    age(sqlite, UID, days=31)
    Retention(keeping(tmp_path, images_days=30), sqlite, grace_s=0).run()
    (problem,) = source.table(scanner).problems.to_dict("records")
    assert problem["where"] == UID and "retention removed its images on 20" in problem["detail"]
