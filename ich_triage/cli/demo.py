"""`ich-triage demo`: service, stand-in PACS and ten studies, scanner to report, on this machine alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from pydicom import dcmread
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..dicom import scu
from ..domain.labels import SUBTYPES
from ..domain.states import FINAL_STATES, DeliveryState, OutputKind, StudyState
from ..errors import IchTriageError
from ..settings import Settings
from ..store.database import Database
from ..worklist import document
from .demo_pacs import StandInPacs, free_port, start_pacs
from .demo_service import running, write_config
from .lists import read_worklist
from .options import console
from .send import PhantomKind, bar, dicom_files, make_phantom
from .show import STATES, worklist_table

#: what the demo sends, in this order: the flagged ones come late and must rise
STUDIES = (
    PhantomKind.NORMAL,
    PhantomKind.CTA,
    PhantomKind.NORMAL,
    *(PhantomKind(each) for each in SUBTYPES),
    PhantomKind.MIXED,
)
#: longest wait for everything to be reported once all was sent, s
LIMIT_S = 300.0
#: pause between two studies: a scanner needs longer, a spectator does not
PAUSE_S = 2.0
_LOOK_S = 0.25
_ARRIVED = (DeliveryState.SENT, DeliveryState.COMMITTED)


def demo(
    study: Annotated[
        Path | None, typer.Option(help="Send this folder's study too.", exists=True, file_okay=False)
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("var/demo"),
    slices: Annotated[int, typer.Option(help="Slices of each phantom.")] = 32,
) -> None:
    """Send ten studies as a scanner would and follow them until their reports are in the PACS."""
    run = folder.absolute() / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run.mkdir(parents=True)
    batches = _prepare(run / "scanner", study, slices)
    names = {_study_uid(files): name for name, files in batches.items()}
    peer = scu.Peer(host="127.0.0.1", port=free_port(), ae_title="ICH_TRIAGE")
    with start_pacs(run / "pacs", peer.port) as pacs:
        config = write_config(run, peer.port, pacs)
        console.print(f"stand-in PACS: {pacs.name}\nconfiguration: {config}")
        with running(run, config, peer) as database:
            _send_and_watch(batches, peer, database)
            complete = _tell(database, names, pacs, run)
    raise typer.Exit(0 if complete else 1)


def _prepare(folder: Path, study: Path | None, slices: int) -> dict[str, list[Path]]:
    """Every study's files by a name to show."""
    kinds = STUDIES if study else (*STUDIES, PhantomKind.SUBDURAL)
    batches: dict[str, list[Path]] = {}
    with bar() as progress:
        for number, kind in enumerate(kinds, start=1):
            name = f"{number} {kind}"
            batches[name] = make_phantom(kind, 100 + number, folder / str(number), slices, progress)
    if study:
        batches[f"{len(batches) + 1} {study.name}"] = dicom_files(study)
    return batches


def _study_uid(files: list[Path]) -> str:
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


def _send_and_watch(batches: dict[str, list[Path]], peer: scu.Peer, database: Database) -> None:
    """Send each study in one association while the list re-sorts; return when all is settled."""
    with _watching(database) as look, ThreadPoolExecutor(1) as scanner:
        sent = scanner.submit(_scan, batches, peer)
        while not sent.done():
            look()
        sent.result()
        deadline = time.monotonic() + LIMIT_S
        while not _settled(look(), len(batches)) and time.monotonic() < deadline:
            pass


def _scan(batches: dict[str, list[Path]], peer: scu.Peer) -> None:
    for name, files in batches.items():
        for sent in scu.store(files, peer, calling="SCANNER"):
            if sent.error:
                raise IchTriageError(f"{name}: {sent.path.name} was not acknowledged: {sent.error}")
        time.sleep(PAUSE_S)


@contextmanager
def _watching(database: Database) -> Iterator[Callable[[], document.Json]]:
    """Shows the list and gives it back; on a terminal it stays in place, else each new order is printed."""
    shown: list[tuple[str, str]] = []
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def look() -> document.Json:
            nonlocal shown
            time.sleep(_LOOK_S)
            told = read_worklist(Settings(), database, hours=1.0, limit=50)
            now = [(row["study_instance_uid"], row["state"]) for row in told["studies"]]
            if console.is_terminal:
                live.update(worklist_table(told), refresh=True)
            elif now != shown:
                console.print(worklist_table(told), "")
            shown = now
            return told

        yield look


def _settled(told: document.Json, studies: int) -> bool:
    rows = told["studies"]
    return len(rows) == studies and all(
        row["state"] in FINAL_STATES and all(each["state"] in _ARRIVED for each in row["deliveries"])
        for row in rows
    )


def _tell(database: Database, names: dict[str, str], pacs: StandInPacs, run: Path) -> bool:
    """The closing table; whether every study's report is in the PACS, asked of the PACS itself."""
    told = read_worklist(Settings(), database, hours=24.0, limit=50)
    rows = {row["study_instance_uid"]: row for row in told["studies"]}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("sent", "result", "any", "last slice to SR in the PACS", "SR in the PACS"):
        table.add_column(heading)
    complete = True
    for uid, name in names.items():
        row = rows.get(uid)
        reports = [each for each in row["deliveries"] if each["kind"] == OutputKind.SR] if row else []
        report = reports[0] if reports else None
        arrived = report is not None and pacs.holds(report["sop_instance_uid"])
        # A CT angiography is outside of what the model was made for: it must not look like a negative.
        refused = row is not None and row["state"] == StudyState.NOT_ANALYSED
        complete &= arrived and (refused or PhantomKind.CTA not in name)
        table.add_row(name, *_result(row), _seconds(row, report), "✓" if arrived else "✗ MISSING")
    console.print(table)
    pictures = _pictures(run, rows.values())
    console.print(f"\nPACS: {pacs.where}\nSR and captures as sent: {run / 'spool' / 'outbox'}")
    console.print(f"captures as PNG: {pictures}\nservice log: {run / 'service.log'}")
    return complete


def _result(row: document.Json | None) -> tuple[Text | str, str]:
    if row is None:
        return "lost", ""
    analysis = row["analysis"]
    return Text(*STATES[row["state"]]), f"{analysis['probabilities']['any']:.2f}" if analysis else ""


def _seconds(row: document.Json | None, report: document.Json | None) -> str:
    if not row or not report or not report["sent_at"]:
        return "-"
    last = datetime.fromisoformat(row["ledger"]["last_slice"])
    return f"{(datetime.fromisoformat(report['sent_at']) - last).total_seconds():.1f} s"


def _pictures(run: Path, rows: Iterable[document.Json]) -> Path:
    """Each capture as a PNG, for who has no DICOM viewer at hand."""
    folder = run / "pictures"
    folder.mkdir()
    for row in rows:
        for each in row["deliveries"]:
            if each["kind"] == OutputKind.CAPTURE:
                pixels = dcmread(run / "spool" / each["path"]).pixel_array
                for number, picture in enumerate(pixels if pixels.ndim == 4 else [pixels], start=1):
                    Image.fromarray(picture).save(folder / f"{row['study_instance_uid'][-12:]}-{number}.png")
    return folder
