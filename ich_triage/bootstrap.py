"""The only place that builds concrete parts.

What loads torch is imported inside the functions: the receiver and the lists must start without it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from .domain.commitment import CommitmentResult
from .settings import Settings
from .store.database import Database

if TYPE_CHECKING:
    from .inference.analyse import Analyser
    from .intake.receiver import Receiver
    from .model.package import Package
    from .pipeline.worker import Worker


def receiver(settings: Settings, database: Database) -> Receiver:
    """The DICOM listener with its index and assembly."""
    from .intake.receiver import Receiver
    from .store import deliveries

    def on_commitment(result: CommitmentResult) -> None:
        with database.write() as session:
            deliveries.commitment_result(session, result, policy=settings.delivery, now=datetime.now(UTC))

    return Receiver(settings, database, on_commitment=on_commitment)


def package(settings: Settings) -> Package:
    """The model package in force. Raises PackageError."""
    from .model.package import Package, embedded_path

    return Package.load(settings.model.package or embedded_path())


def package_card(settings: Settings) -> str:
    """What the package in force says about itself to people."""
    from .model.package import CARD, embedded_path

    return ((settings.model.package or embedded_path()) / CARD).read_text(encoding="utf-8")


def analyser(settings: Settings) -> Analyser:
    """The resident model, self-tested. Raises PackageError."""
    from .inference.analyse import Analyser
    from .inference.batcher import Batcher
    from .inference.devices import make_engine

    loaded = package(settings)
    model = settings.model
    engine = make_engine(loaded, device=model.device, threads=model.threads, batch=model.batch_slices)
    batcher = Batcher(engine, batch=model.batch_slices, wait_s=model.batch_wait_s)
    ready = Analyser(batcher, operating_point=model.operating_point, prevalence=model.prevalence)
    ready.self_test()
    return ready


def worker(settings: Settings, database: Database) -> Worker:
    """Queue executor, model, stages and deliveries of one worker process."""
    from .outputs.deliver import Deliverer
    from .outputs.outbox import Outbox
    from .outputs.report import Device
    from .pipeline.stages import Stages
    from .pipeline.triage import Triage
    from .pipeline.worker import Worker

    device = Device(ae_title=settings.dicom.ae_title, version=version("ich-triage"))
    stages = Stages(
        database=database,
        spool=settings.spool.path,
        analyser=analyser(settings),
        outbox=Outbox(settings.spool.path, settings.destinations),
        device=device,
    )
    deliverer = Deliverer(settings, database)
    triage = Triage(database, stages, max_attempts=settings.worker.max_attempts, on_stored=deliverer.wake)
    return Worker(settings, database, triage, deliverer)
