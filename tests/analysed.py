"""Studies with images in the spool and an answer of the model in the database, as a worker leaves them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from ich_triage.domain.finding import Analysis
from ich_triage.domain.states import ReasonCode, StudyState
from ich_triage.outputs.masks import MaskFiles
from ich_triage.storage.folder import Folder
from ich_triage.store import results
from ich_triage.store.database import Database
from tests.reports import analysis_of
from tests.scanner import head
from tests.service import complete, put

#: where the mask of `add_analysed` is: subtype (of SUBTYPES), slices, rows, columns
BLEED = (4, slice(3, 6), slice(8, 16), slice(20, 26))
SLICES, PIXELS = 8, 32


def add_analysed(
    database: Database,
    spool: Path,
    uid: str,
    state: StudyState = StudyState.FLAGGED,
    *,
    name: str = "DOE^JANE",
) -> None:
    """A small head, complete and in its final `state`; a flagged one with a mask."""
    images = head(SLICES, study=uid, pixels=PIXELS)
    for ds in images:
        ds.PatientName = name
    put(database, spool, images)
    revision_id = complete(database, uid)
    with database.write() as session:
        revision = results.get(session, revision_id)
        if state in (StudyState.FLAGGED, StudyState.NOT_FLAGGED):
            answer = analysis_of(images, flagged=state is StudyState.FLAGGED)
            revision.analysis = TypeAdapter(Analysis).dump_python(answer, mode="json")
            chosen = {"series_instance_uid": images[0].SeriesInstanceUID, "description": "HEAD", "number": 2}
            told = chosen | {"images": SLICES, "reason": "axial, no contrast"}
            revision.selection = {"chosen": told, "rejected": [], "fingerprint": "x"}
            revision.inferred_at = revision.stored_at = datetime.now(UTC)
            results.finish(session, revision, state)
        elif state in (StudyState.NOT_ANALYSED, StudyState.FAILED):
            results.finish(
                session, revision, state, code=ReasonCode.CONTRAST, reason="contrast agent was given"
            )
    if state is StudyState.FLAGGED:
        masks = np.zeros((5, SLICES, PIXELS, PIXELS), bool)
        masks[BLEED] = True
        MaskFiles(Folder(spool)).save(uid, 1, masks)
