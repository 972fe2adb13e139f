"""N-GET, N-SET, N-ACTION and N-CREATE of Unified Procedure Steps, at the boundary to the peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_ACTION, N_GET, N_SET
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    UnifiedProcedureStepPull,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
)

from ..dicom.transport import association_number
from ..errors import DicomReadError, QueryError
from ..settings import Settings
from ..store.database import Database
from . import audited
from .provider import check_length, received
from .status import (
    ATTRIBUTES_UNSUPPORTED,
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    NOT_AUTHORIZED,
    PROCESSING_FAILURE,
    SUCCESS,
    status,
)
from .step_actions import Action, StepActions
from .steps import Steps
from .subscriptions import Subscriptions

log = structlog.get_logger(__name__)

#: SOP classes of procedure steps that a peer may negotiate; the steps themselves are of UPS Push
STEP_CLASSES = (UnifiedProcedureStepPull, UnifiedProcedureStepWatch, UnifiedProcedureStepQuery)

Answer = tuple[int | Dataset, Dataset | None]


class StepRequests:
    """Hands requests over, and what came of them back; whatever goes wrong, the peer hears that it did."""

    def __init__(
        self, settings: Settings, database: Database, steps: Steps, *, on_event: Callable[[], None]
    ) -> None:
        known = frozenset(each.ae_title for each in settings.query.subscribers)
        self._steps = steps
        self._actions = StepActions(database, on_event=on_event)
        self._subscriptions = Subscriptions(database, known, on_event=on_event)

    def get(self, event: evt.Event) -> Answer:
        """N-GET."""

        def answer() -> Answer:
            uid = str(cast(N_GET, event.request).RequestedSOPInstanceUID)
            ds, whole = self._steps.get(uid, event.attribute_identifiers)
            audited.asked(event)
            return SUCCESS if whole else ATTRIBUTES_UNSUPPORTED, ds

        return _guarded(event, answer)

    def set(self, event: evt.Event) -> Answer:
        """N-SET."""

        def answer() -> Answer:
            request = cast(N_SET, event.request)
            check_length(request.ModificationList)
            uid = str(request.RequestedSOPInstanceUID)
            code = self._actions.set(uid, received(lambda: event.modification_list))
            audited.changed(event, self._actions.study_of(uid))
            return code, None

        return _guarded(event, answer)

    def action(self, event: evt.Event) -> Answer:
        """N-ACTION."""

        def answer() -> Answer:
            request = cast(N_ACTION, event.request)
            check_length(request.ActionInformation)
            uid = str(request.RequestedSOPInstanceUID)
            information = received(lambda: event.action_information)
            code = self._act(event, uid, information)
            audited.changed(event, self._actions.study_of(uid))
            return code, None

        return _guarded(event, answer)

    def _act(self, event: evt.Event, uid: str, information: Dataset) -> int:
        """Raises QueryError with the status that the peer is given."""
        calling = event.assoc.requestor.ae_title
        match event.action_type:
            case Action.CHANGE_STATE:
                return self._actions.change_state(uid, information, calling)
            case Action.REQUEST_CANCEL:
                return self._actions.request_cancel(uid, information, calling)
            case Action.SUBSCRIBE:
                return self._subscriptions.subscribe(uid, information)
            case Action.UNSUBSCRIBE:
                return self._subscriptions.unsubscribe(uid, information)
            case Action.SUSPEND_GLOBAL:
                return self._subscriptions.suspend(uid, information)
        raise QueryError(NO_SUCH_ACTION, "there is no such action of procedure steps")

    def create(self, event: evt.Event) -> Answer:
        """N-CREATE: steps are made by triage alone."""
        log.warning("request_refused", association=association_number(event), reason="N-CREATE")
        return status(NOT_AUTHORIZED, "steps are made by triage alone"), None


def _guarded(event: evt.Event, answer: Callable[[], Answer]) -> Answer:
    """The answer, or the status that says why there is none."""
    # broad, since this is the boundary to the peer: a request must never end an association or name a
    # patient in the log, whatever it does to the library
    try:
        if event.context.abstract_syntax not in STEP_CLASSES:  # the peer's rights are those of its contexts
            raise QueryError(NOT_AUTHORIZED, "not over a presentation context of procedure steps")
        return answer()
    except QueryError as error:
        log.warning("request_refused", association=association_number(event), reason=str(error))
        return status(error.status, str(error)), None
    except DicomReadError as error:
        log.warning("request_refused", association=association_number(event), reason=str(error))
        return status(INVALID_ARGUMENT, str(error)), None
    except Exception as error:  # noqa: BLE001
        log.error("request_failed", association=association_number(event), error=type(error).__name__)
        return status(PROCESSING_FAILURE, "the request could not be processed; see the log"), None
