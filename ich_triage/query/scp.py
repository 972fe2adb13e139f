"""The AE that other systems ask: Verification, Study Root C-FIND, Unified Procedure Steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from time import sleep
from typing import Protocol, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from pynetdicom.transport import AssociationSocket

from ..dicom.admission import Admission
from ..dicom.transport import (
    PatientSocket,
    Server,
    association_number,
    log_established,
    log_rejection,
    on_rejection,
)
from ..dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..errors import DicomReadError, QueryError
from ..settings import Right, Settings
from ..store.audit import keeper
from ..store.database import Database
from ..telemetry.refusals import Refusals
from . import audited
from .keys import Key, read_keys
from .provider import SmallMessages, check_length, received
from .status import (
    CANCEL,
    DOES_NOT_MATCH_SOP_CLASS,
    OUT_OF_RESOURCES,
    PENDING,
    PENDING_UNSUPPORTED,
    UNABLE_TO_PROCESS,
    status,
)
from .step_requests import STEP_CLASSES, StepRequests
from .steps import Steps
from .studies import StudyRoot

#: how often it is looked whether an answer is out, s
_WIRE_S = 0.0005

log = structlog.get_logger(__name__)

_MAX_PDU_BYTES = 131072
#: neither deflated, which a small message could unfold to a large one, nor big endian, which nobody needs
_TRANSFER_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

Answer = tuple[int | Dataset, Dataset | None]


class Finder(Protocol):
    """Answers C-FIND for one information model."""

    def find(self, keys: Sequence[Key]) -> tuple[list[Dataset], bool]:
        """The matches, one more than may be answered at most; and whether every key was supported."""


class QueryScp:
    """One AE on one port; every association has a thread of its own."""

    def __init__(self, settings: Settings, database: Database, *, on_event: Callable[[], None]) -> None:
        """`on_event` is called when watchers have something to hear."""
        self._settings = settings.query
        self._numbers = count(1)
        self._steps = Steps(settings, database)
        self._finders: dict[str, Finder] = {
            StudyRootQueryRetrieveInformationModelFind: StudyRoot(settings.query, database),
            **dict.fromkeys(STEP_CLASSES, self._steps),
        }
        rights: dict[str, Right] = dict.fromkeys(map(str, self._finders), "query")
        #: what the audit trail is told of those that were turned away
        self.refusals = Refusals(keeper(database))
        self._admission = Admission(
            settings.query, settings.peers, rights=rights, on_refused=self.refusals.connection
        )
        self._requests = StepRequests(settings, database, self._steps, on_event=on_event)

    def start(self) -> None:
        """Bind and listen. Raises OSError when an address cannot be had, SettingsError about certificates."""
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own handlers log identifiers
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_GET, self._requests.get),
            (evt.EVT_N_SET, self._requests.set),
            (evt.EVT_N_ACTION, self._requests.action),
            (evt.EVT_N_CREATE, self._requests.create),
            (evt.EVT_REJECTED, log_rejection),
            (evt.EVT_REJECTED, on_rejection(self.refusals.association)),
            (evt.EVT_ESTABLISHED, log_established),
        ]
        self._server = Server(
            self._application_entity(),
            self._settings,
            self._admission,
            handlers=handlers,
            serve=self._serve,
        )

    @property
    def port(self) -> int:
        """The port bound, also when the system chose it; 0 where there is none without TLS."""
        return self._server.port

    @property
    def tls_port(self) -> int:
        """The port bound with TLS; 0 where there is none."""
        return self._server.tls_port

    def stop(self, *, patience_s: float) -> None:
        """Accept nothing more, let running associations finish for a while, then abort them."""
        self._server.stop(patience_s=patience_s)

    def _application_entity(self) -> AE:
        ae = AE(ae_title=self._settings.ae_title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(self._settings.calling_ae_titles)
        ae.maximum_pdu_size = _MAX_PDU_BYTES
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.network_timeout = self._settings.network_timeout_s
        ae.acse_timeout = min(self._settings.network_timeout_s, 30.0)
        for abstract_syntax in (Verification, *self._finders):
            ae.add_supported_context(abstract_syntax, _TRANSFER_SYNTAXES)
        return ae

    def _serve(self, association: Association) -> None:
        association.dimse = SmallMessages(
            association, number=next(self._numbers), limit_s=self._settings.message_timeout_s
        )
        association.dul.socket = PatientSocket(
            cast(AssociationSocket, association.dul.socket),
            timeout_s=self._settings.network_timeout_s,
            max_pdu_bytes=_MAX_PDU_BYTES,
        )
        association.start()
        association.join()

    def _find(self, event: evt.Event) -> Iterator[Answer]:
        found: list[Dataset] = []
        # broad, since this is the boundary to the peer: whatever goes wrong, it must hear that it did, and a
        # question must never end an association or name a patient in the log
        try:
            finder, keys = self._question(event)
            found, all_supported = finder.find(keys)
            audited.asked(event)
        except QueryError as error:
            log.warning("question_refused", association=association_number(event), reason=str(error))
            yield status(error.status, str(error)), None
        except Exception as error:  # noqa: BLE001
            log.error("question_failed", association=association_number(event), error=type(error).__name__)
            yield status(UNABLE_TO_PROCESS, "the question could not be processed; see the log"), None
        else:
            yield from self._answers(event, found, PENDING if all_supported else PENDING_UNSUPPORTED)

    def _answers(self, event: evt.Event, found: Sequence[Dataset], pending: int) -> Iterator[Answer]:
        """The matches one by one. A list that is not whole never ends with success."""
        limit = self._settings.max_answers
        for sent, ds in enumerate(found[:limit]):
            _wait_for_the_wire(event)
            if event.is_cancelled:
                log.info("question_cancelled", association=association_number(event), answers=sent)
                yield CANCEL, None
                return
            yield pending, ds
        log.info("question_answered", association=association_number(event), answers=min(len(found), limit))
        if len(found) > limit:
            yield status(OUT_OF_RESOURCES, f"more than {limit} matches: ask for fewer"), None

    def _question(self, event: evt.Event) -> tuple[Finder, tuple[Key, ...]]:
        """Who answers, and what is asked. Raises QueryError."""
        request = cast(C_FIND, event.request)
        check_length(request.Identifier)
        finder = self._finders.get(str(event.context.abstract_syntax))
        if finder is None or request.AffectedSOPClassUID not in self._finders:
            raise QueryError(DOES_NOT_MATCH_SOP_CLASS, "nothing can be asked for by this SOP class")
        try:
            return finder, read_keys(received(lambda: event.identifier))
        except DicomReadError as error:
            raise QueryError(UNABLE_TO_PROCESS, str(error)) from error


def _wait_for_the_wire(event: evt.Event) -> None:
    """Until what was answered is out: a C-CANCEL is not read while pynetdicom has answers to write."""
    association = event.assoc
    while association.is_established and not association.dul.to_provider_queue.empty():
        sleep(_WIRE_S)
