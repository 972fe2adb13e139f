"""`ich-triage send`: a folder or phantoms to any AE, as a scanner would."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..dicom import scu
from ..domain.labels import Subtype
from ..errors import DicomReadError, wrong_value
from ..settings import ClientTls, Dicom
from .options import ConfigOption, console, settings


class PhantomKind(StrEnum):
    """What a phantom study can be."""

    EPIDURAL = Subtype.EPIDURAL
    INTRAPARENCHYMAL = Subtype.INTRAPARENCHYMAL
    INTRAVENTRICULAR = Subtype.INTRAVENTRICULAR
    SUBARACHNOID = Subtype.SUBARACHNOID
    SUBDURAL = Subtype.SUBDURAL
    #: several bleeds at once
    MIXED = "mixed"
    #: no bleed, but what looks like one
    NORMAL = "normal"
    #: CT angiography, which must be refused analysis
    CTA = "cta"


#: a mixed phantom carries these
MIXED = (Subtype.INTRAPARENCHYMAL, Subtype.INTRAVENTRICULAR, Subtype.SUBARACHNOID)


def send(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with DICOM files.", exists=True, file_okay=False)
    ] = None,
    phantom: Annotated[list[PhantomKind] | None, typer.Option(help="Send a phantom; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first phantom; the next ones count up.")] = 1,
    slices: Annotated[int, typer.Option(help="Slices of a phantom.")] = 32,
    to: Annotated[str | None, typer.Option(help="AE@host:port; else our own listener.")] = None,
    calling: Annotated[str, typer.Option(help="Our AE title as the sender.")] = "SCANNER",
    stat: Annotated[bool, typer.Option("--stat", help="Send with DIMSE priority HIGH.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt the connection.")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="Who may have signed its certificate, PEM.")] = None,
    certificate_file: Annotated[Path | None, typer.Option(help="The sender's certificate, PEM.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key, where that is another file.")] = None,
    config: ConfigOption = None,
) -> None:
    """Send studies by C-STORE and say what was acknowledged."""
    if not folder and not phantom:
        raise typer.BadParameter("name a FOLDER or at least one --phantom")
    files = {"ca_file": ca_file, "certificate_file": certificate_file, "key_file": key_file}
    if any(files.values()) and not tls:
        raise typer.BadParameter("certificates need --tls")
    try:
        encryption = ClientTls(tls=tls, **files)
    except ValidationError as error:
        raise typer.BadParameter(wrong_value(error.errors()[0])) from error
    peer = scu.Peer.parse(to) if to else _our_listener(settings(context, config).dicom, tls)
    if tls:
        peer = replace(peer, tls=encryption)
    with bar() as progress, tempfile.TemporaryDirectory(prefix="ich-send-") as scratch:
        batches = [dicom_files(folder)] if folder else []
        for number, kind in enumerate(phantom or []):
            batches.append(make_phantom(kind, seed + number, Path(scratch) / str(number), slices, progress))
        failed = sum(_send(batch, peer, calling, stat, progress) for batch in batches)
    if failed:
        raise typer.Exit(1)


def _our_listener(listener: Dicom, tls: bool) -> scu.Peer:
    if not (tls or listener.plain):
        raise typer.BadParameter("our own listener takes TLS alone: add --tls and --ca-file")
    port = listener.tls_port if tls else listener.port
    return scu.Peer(host="127.0.0.1", port=port, ae_title=listener.ae_title)


def bar() -> Progress:
    """The progress bar of anything long."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def dicom_files(folder: Path) -> list[Path]:
    """Every DICOM Part 10 file below `folder`, by name. Raises DicomReadError when there is none."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_part10(path)]
    if not found:
        raise DicomReadError(f"there are no DICOM files below {folder}")
    return found


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def make_phantom(kind: PhantomKind, seed: int, folder: Path, slices: int, progress: Progress) -> list[Path]:
    """Write one phantom study as a scanner would make it; returns its files."""
    from ..phantom import dicom, generate, spec  # loads torch

    task = progress.add_task(f"phantom {kind}", total=1)
    without = (PhantomKind.NORMAL, PhantomKind.CTA)
    bleeds = MIXED if kind is PhantomKind.MIXED else None if kind in without else (Subtype(kind),)
    contrast = kind is PhantomKind.CTA
    made = generate.generate(spec.draw(seed, bleeds=bleeds, slices=slices, contrast=contrast))
    files = dicom.write_study(made, folder, series=("localizer", "soft"), fresh=True)
    progress.advance(task)
    return files


def _send(files: Sequence[Path], peer: scu.Peer, calling: str, stat: bool, progress: Progress) -> int:
    """Send one batch over one association; returns how many objects were not acknowledged."""
    task = progress.add_task(f"C-STORE to {peer.ae_title}", total=len(files))
    bad = 0
    for sent in scu.store(files, peer, calling=calling, high_priority=stat):
        progress.advance(task)
        if sent.error:
            bad += 1
            progress.console.print(f"{sent.path.name}: {sent.error}")
    return bad
