"""The study page: pictures, findings, series, ledger, deliveries, feedback, and the report in words."""

from __future__ import annotations

import hashlib
import json
from string import Formatter
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from pydicom import dcmread

from ..domain.audit import AuditEvent
from ..domain.input_spec import BONE, BRAIN, STROKE, SUBDURAL
from ..domain.labels import SUBTYPES
from ..domain.states import OutputKind
from ..outputs.outbox import written
from .access import audited, may_answer, viewer
from .api import Own, Uid, Viewer, study_document
from .document import Json
from .parts import Parts
from .sr_text import lines

router = APIRouter(prefix="/studies", include_in_schema=False)

#: name, level and width of the window presets, HU
_WINDOWS = [
    (name, f"{window.level:g}", f"{window.width:g}")
    for name, window in (("Brain", BRAIN), ("Subdural", SUBDURAL), ("Bone", BONE), ("Stroke", STROKE))
]
#: the ledger's steps in words
_STEPS = (
    ("first_slice", "First slice"),
    ("last_slice", "Last slice"),
    ("complete", "Complete"),
    ("started", "Analysis began"),
    ("inferred", "Model answered"),
    ("stored", "Result stored"),
    ("sent", "Reports stored elsewhere"),
    ("committed", "Kept for good elsewhere"),
)


@router.get("/{uid}", response_class=HTMLResponse)
def page(request: Request, uid: Uid, own: Own, who: Viewer) -> Response:
    """The page of one study."""
    told = study_document(own, uid)
    audited(request, who, AuditEvent.STUDY_VIEWED, study_instance_uid=uid)
    mine = next((each for each in told["feedback"] if each["reader"] == who.name), None)
    more = {
        "study": told,
        "viewer": _viewer(own, told),
        "mine": mine,
        "may_answer": may_answer(who),
        "subtypes": SUBTYPES,
        "windows": _WINDOWS,
        "steps": _STEPS,
        "version": _version(told),
    }
    return own.page(request, "study.html", more)


@router.get("/{uid}/version", dependencies=[Depends(viewer)])
def version(own: Own, uid: Uid) -> Json:
    """Whether an open page still tells how things are."""
    return {"version": _version(study_document(own, uid))}


@router.get("/{uid}/report", response_class=HTMLResponse)
def report(request: Request, uid: Uid, own: Own, who: Viewer) -> Response:
    """The structured report as text, as it went out."""
    told = study_document(own, uid)
    audited(request, who, AuditEvent.STUDY_VIEWED, study_instance_uid=uid)
    path = written(own.spool, uid, told["reported_revision"], OutputKind.SR)
    return own.page(request, "report.html", {"lines": lines(dcmread(path)) if path else None})


def _version(told: Json) -> str:
    """Another one for each state, revision and delivery; feedback is shown as it is given."""
    deliveries = [each["state"] for each in told["deliveries"]]
    analysis = told["analysis"] or {}
    told_of = [
        *(told[name] for name in ("state", "revision", "reason", "instances")),
        *(analysis.get(name) for name in ("revision", "covers_all")),
        deliveries,
    ]
    return hashlib.sha256(json.dumps(told_of).encode()).hexdigest()[:16]


def _viewer(own: Parts, told: Json) -> str | None:
    """Address of the study in the site's own viewer."""
    template = own.settings.worklist.viewer_url
    values = {name: quote(told[name], safe="") for name in ("study_instance_uid", "accession_number")}
    named = [name for _, name, _, _ in Formatter().parse(template) if name]
    # without a value the other viewer would open whatever it finds
    return template.format(**values) if named and all(values[name] for name in named) else None
