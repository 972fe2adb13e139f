"""The only place that builds concrete parts.

What loads torch is imported inside the functions: the receiver and the lists must start without it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from .domain.commitment import CommitmentResult
from .errors import IchTriageError
from .settings import Settings
from .storage.files import files_of
from .store import ready, studies
from .store.database import Database
from .telemetry import metrics
from .telemetry.audit_trail import Trail
from .telemetry.probes import Probes
from .telemetry.readiness import Readiness

if TYPE_CHECKING:
    from .inference.analyse import Analyser
    from .inference.engine import Engine
    from .intake.receiver import Receiver
    from .model.package import Package
    from .model.registry import PackageFolder, Registry
    from .pipeline.models import Models
    from .pipeline.worker import Worker
    from .query.service import QueryService
    from .worklist.server import WebServer


def receiver(settings: Settings, database: Database) -> Receiver:
    """The DICOM listener with its index and assembly."""
    from .intake.receiver import Receiver
    from .store import deliveries

    def on_commitment(result: CommitmentResult) -> None:
        with database.write() as session:
            deliveries.commitment_result(session, result, policy=settings.delivery, now=datetime.now(UTC))

    return Receiver(settings, database, on_commitment=on_commitment)


def receiver_probes(settings: Settings, _database: Database, process: Receiver) -> Probes | None:
    """What tells whether the receiver is well; None where the configuration gives it no port."""
    port = settings.metrics.receiver_port
    if port is None:
        return None
    readiness = Readiness(process.checks)
    return Probes(settings.metrics, port, registry=process.registry, readiness=readiness)


def worker_probes(settings: Settings, database: Database, _process: Worker) -> Probes | None:
    """The same of a worker."""
    return _probes(settings, settings.metrics.worker_port, database, "worker")


def query_probes(settings: Settings, database: Database, _process: QueryService) -> Probes | None:
    """The same of the query process."""
    return _probes(settings, settings.metrics.query_port, database, "query")


def _probes(settings: Settings, port: int | None, database: Database, process: str) -> Probes | None:
    if port is None:
        return None
    readiness = Readiness({"database": ready.check(database)})
    return Probes(settings.metrics, port, registry=metrics.registry(process), readiness=readiness)


def audit_trail(settings: Settings, database: Database, process: str) -> Trail | None:
    """Where the audit trail of one process goes besides database and log; None where nowhere.

    Raises SettingsError.
    """
    if not (settings.audit.file or settings.audit.syslog):
        return None

    def patient_of(study_instance_uid: str) -> str | None:
        try:
            with database.read() as session:
                return studies.patient_id(session, study_instance_uid)
        except SQLAlchemyError:
            return None  # the message goes without: it must not wait for the database

    wanted = patient_of if settings.audit.patient_id else None
    return Trail(settings.audit, process, patient_of=wanted)


def query(settings: Settings, database: Database) -> QueryService:
    """What other systems ask for studies and their priorities."""
    from .query.service import QueryService

    return QueryService(settings, database)


def models(settings: Settings, database: Database) -> Models:
    """The registry of model packages, and which of them is in force."""
    from .pipeline.models import Models

    return Models(settings.model, database)


def registry(settings: Settings) -> Registry:
    """The published model packages."""
    from .model.registry import Registry

    return Registry(settings.model.registry)


def engine(settings: Settings, package: Package) -> Engine:
    """What runs `package` on this machine. Raises EngineError."""
    from .inference.devices import make_engine

    model = settings.model
    return make_engine(package, device=model.device, threads=model.threads, batch=model.batch_slices)


def prove(settings: Settings, package: Package) -> None:
    """Raise EngineError unless this machine runs `package` as it should, with our operating point."""
    from .inference import analyse

    analyse.prove(engine(settings, package), settings.model.operating_point)


def analyser(settings: Settings, packages: tuple[PackageFolder, ...]) -> tuple[Analyser, str | None]:
    """The resident model, self-tested: the first of `packages`, else the next, and why.

    Raises PackageError, EngineError.
    """
    from .inference.analyse import Analyser
    from .inference.batcher import Batcher
    from .pipeline.models import first_that_runs

    model = settings.model

    def start(package: Package) -> Analyser:
        batcher = Batcher(engine(settings, package), batch=model.batch_slices, wait_s=model.batch_wait_s)
        try:
            ready = Analyser(batcher, operating_point=model.operating_point, prevalence=model.prevalence)
            ready.self_test()
        except IchTriageError:
            batcher.stop()
            raise
        return ready

    return first_that_runs(packages, start)


def web(settings: Settings, database: Database) -> WebServer:
    """The worklist pages and the JSON API."""
    from .worklist.app import create
    from .worklist.server import WebServer

    return WebServer(settings.web, create(settings, database))


def worker(settings: Settings, database: Database) -> Worker:
    """Queue executor, model, stages and deliveries of one worker process."""
    from .outputs.deliver import Deliverer
    from .outputs.outbox import Outbox
    from .outputs.report import Device
    from .pipeline.models import ModelWatch
    from .pipeline.stages import Stages
    from .pipeline.triage import Triage
    from .pipeline.worker import Worker

    device = Device(ae_title=settings.dicom.ae_title, version=version("ich-triage"))
    known = models(settings, database)
    begun = known.in_force()
    ready, problem = analyser(settings, begun.packages)
    watch = ModelWatch(
        known, ready, lambda package: engine(settings, package), seen=begun.number, problem=problem
    )
    spool = files_of(settings.spool)
    stages = Stages(
        database=database,
        spool=spool,
        analyser=ready,
        outbox=Outbox(spool, settings.destinations),
        device=device,
    )
    deliverer = Deliverer(settings, database)
    triage = Triage(database, stages, max_attempts=settings.worker.max_attempts, on_stored=deliverer.wake)
    return Worker(settings, database, triage, deliverer, watch)
