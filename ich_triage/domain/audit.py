"""What is kept of every look at a patient, every log-in and every change of rights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class AuditEvent(StrEnum):
    """What happened. Names are stable: they stand in the database and in the log.

    The last group stands in the log and the trail alone (docs/audit.md), since index and ledger have it; but
    for refusals, which are in the database, too.
    """

    #: the worklist was opened; `rows` studies were on it
    LIST_VIEWED = "list_viewed"
    #: an open worklist renewed itself; one record a minute for each session
    LIST_REFRESHED = "list_refreshed"
    #: a study's page was opened
    STUDY_VIEWED = "study_viewed"
    #: slices of a study were looked at; one record a minute for each session and study
    PICTURES_VIEWED = "pictures_viewed"
    #: the API was asked for a study, or for a list of `rows` studies
    API_READ = "api_read"
    #: a reader agreed or disagreed with a result
    FEEDBACK_GIVEN = "feedback_given"
    #: somebody logged in
    LOGIN_SUCCEEDED = "login_succeeded"
    #: a log-in failed; the name only where such an account exists
    LOGIN_FAILED = "login_failed"
    #: a log-in was not looked at, since too many had failed; one record a minute for each address
    LOGIN_LIMITED = "login_limited"
    #: somebody logged out
    LOGGED_OUT = "logged_out"
    #: somebody known asked for what the role does not allow, or without the page's token
    ACCESS_REFUSED = "access_refused"
    #: an account was made
    ACCOUNT_ADDED = "account_added"
    #: an account was given another role
    ROLE_CHANGED = "role_changed"
    #: an account was given another password
    PASSWORD_CHANGED = "password_changed"
    #: an account was closed
    ACCOUNT_DISABLED = "account_disabled"
    #: a closed account was opened again
    ACCOUNT_ENABLED = "account_enabled"
    #: all sessions of an account were ended
    SESSIONS_ENDED = "sessions_ended"
    #: a service token was made
    TOKEN_MADE = "token_made"
    #: a service token was revoked
    TOKEN_REVOKED = "token_revoked"
    #: all that is held of one patient was copied out; `rows` studies
    PATIENT_EXPORTED = "patient_exported"
    #: all that is held of one patient was erased; `rows` studies
    PATIENT_ERASED = "patient_erased"
    #: a study was copied out without what identifies the patient
    STUDY_EXPORTED = "study_exported"

    #: somebody has shown a service token that is forged, expired or revoked; one record a minute for each
    #: address
    TOKEN_REFUSED = "token_refused"
    #: a process of the service began
    APPLICATION_STARTED = "application_started"
    #: a process of the service ended in order
    APPLICATION_STOPPED = "application_stopped"
    #: another system has sent objects of a study
    INSTANCES_RECEIVED = "instances_received"
    #: another system was sent objects of a study
    INSTANCES_SENT = "instances_sent"
    #: another system has asked for studies or procedure steps
    QUERIED = "queried"
    #: another system has changed a procedure step, or subscribed to some
    STEP_CHANGED = "step_changed"
    #: another system wanted an association and was turned away; one record a minute for address and reason
    ASSOCIATION_REFUSED = "association_refused"
    #: a connection was turned away before it could ask for one: no TLS, or too many of them; likewise
    CONNECTION_REFUSED = "connection_refused"


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """One line of the audit trail. Our own ids and UIDs only, nothing of a patient."""

    #: when
    at: datetime
    #: what
    event: AuditEvent
    #: who: name of the account or of the service token; empty where nobody is known
    actor: str
    #: Role of who; empty where nobody is known
    role: str = ""
    #: address that the request came from; empty on the command line
    address: str = ""
    #: the study that was looked at
    study_instance_uid: str | None = None
    #: studies on a list
    rows: int | None = None
    #: which part of the list: page and filters, never the words that were searched for
    asked: str | None = None
    #: the account or token that was changed
    about: str | None = None


@dataclass(frozen=True, kw_only=True)
class PeerRecord:
    """What another system did or was sent by DICOM: for the log and the trail."""

    #: when
    at: datetime
    #: what
    event: AuditEvent
    #: its AE title, as it says
    ae_title: str
    #: its address or host name; empty where it is no longer known
    address: str
    #: the study whose objects travelled
    study_instance_uid: str | None = None
    #: how many objects of each SOP Class travelled; or the SOP Class that was asked
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    #: why it was turned away, one word or OpenSSL's; empty where it was not
    reason: str = ""
    #: how often that happened since the record before; None where each has its own
    count: int | None = None
