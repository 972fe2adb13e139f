"""The export for support: nothing identifying is left in any byte; geometry, pixels and answer are."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicomanonymizer import simpledicomanonymizer as profile
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from ich_triage.domain.states import StudyState
from ich_triage.errors import RemovalError
from ich_triage.imaging import gate, head
from ich_triage.imaging.header import read_study
from ich_triage.imaging.select import select
from ich_triage.imaging.volume import Volume, assemble
from ich_triage.keeping import support
from ich_triage.keeping.deidentify import EDITION, meaning
from ich_triage.store.database import Database
from tests import service
from tests.analysed import add_analysed
from tests.analyser import ThresholdAnalyser
from tests.heads import tiny_head
from tests.scanner import dose_report

#: what every text, name and number that identifies is made of here
SECRET = b"ZQXSECRET"
_VALUES = {
    "PN": "ZQXSECRET^DOE", "DA": "20251117", "TM": "111735", "DT": "20251117111735", "AS": "067Y",
    "UR": "http://zqxsecret.example", "IS": "987654", "DS": "987654.3", "FD": 987654.25, "FL": 987654.25,
    "SS": 4711, "US": 4711, "SL": 4711, "UL": 4711, "AT": 0x00100010,
    "OB": b"ZQXSECRET!", "UN": b"ZQXSECRET!",
}  # fmt: skip
_DATES = (b"20251117", b"111735")
#: what a volume is made of; filled by the scanner, not by the test
_GEOMETRY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
EMPTY = {
    **dict.fromkeys(("label", "state", "reason", "priority", "place", "stat", "instances", "revision")),
    **dict.fromkeys(("reported_revision", "analysis", "slices", "series")),
    "revisions": [],
    "feedback": [],
}


def _identifying(ds: Dataset) -> list[str]:
    """Fill every element that Table E.1-1 lists, and some that it does not; returns the UIDs put in."""
    uids = [str(ds[keyword].value) for keyword in _GEOMETRY[1:] if keyword in ds]
    listed = (tag for tag in profile.initialize_actions(f"dicomfields_{EDITION}") if len(tag) == 2)
    for tag in map(Tag, listed):
        if tag.group in (0, 2, 4) or (tag in ds and tag.group != 0x0010) or not dictionary_has_tag(tag):
            continue
        vr = dictionary_VR(tag)
        if vr == "SQ":
            ds.add_new(tag, vr, [_nested()])
        elif vr == "UI":
            uids.append(generate_uid())
            ds.add_new(tag, vr, uids[-1])
        elif len(vr) == 2:
            ds.add_new(tag, vr, _VALUES.get(vr, "ZQXSECRET"))
    ds.StudyDescription = "Kopf nativ ZQXSECRET"
    ds.SeriesDescription = "Head bone ZQXSECRET 5.0"
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60003000, "OW", SECRET + b"!")
    ds.add_new(0x60000022, "LO", "ZQXSECRET")
    private = ds.private_block(0x0019, "ZQXSECRET CREATOR", create=True)
    private.add_new(1, "LO", "ZQXSECRET")
    private.add_new(2, "SQ", [_nested()])
    ds.add_new(0x00091234, "UN", SECRET)
    ds.file_meta.SourceApplicationEntityTitle = "ZQXSECRET"
    ds.preamble = SECRET.ljust(128, b"!")
    return uids


def _nested() -> Dataset:
    """An item of a sequence that no table lists, with names, dates and privates two levels down."""
    inner = Dataset()
    inner.PatientName, inner.OperatorsName, inner.StudyDate = "ZQXSECRET^IN", "ZQXSECRET", "20251117"
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "ZQXSECRET", "99ZQX", "ZQXSECRET"
    inner.private_block(0x0011, "ZQXSECRET", create=True).add_new(1, "LT", "ZQXSECRET")
    outer = Dataset()
    outer.ProcedureCodeSequence = [inner]
    outer.RequestAttributesSequence = [deepcopy(inner)]
    return outer


def _write(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.dcm" for number in range(len(datasets))]
    for ds, path in zip(datasets, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths


def _export(
    paths: Sequence[Path], folder: Path, told: service.Json | None = None
) -> tuple[list[Path], bytes]:
    """The exported images as files, and every byte that left, unpacked."""
    out = folder / "out.zip"
    support.export(told or EMPTY, paths, out)
    target = folder / "exported"
    with zipfile.ZipFile(out) as archive:
        archive.extractall(target)
        everything = b"".join(map(archive.read, archive.namelist())) + "".join(archive.namelist()).encode()
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    return sorted((target / "images").iterdir()), everything


def _volume(paths: Sequence[Path]) -> Volume:
    headers, _ = read_study(paths)
    chosen = select(headers).chosen
    assert chosen is not None
    return assemble(chosen)


def _answer(volume: Volume) -> service.Json:
    """What the model says, without the names of the images."""
    found = head.find(volume)
    gate.check(volume, found)
    told = asdict(ThresholdAnalyser().analyse(volume, head=found).analysis)
    for each in told["slices"]:
        each["image"].pop("sop_instance_uid")
    return told


@pytest.mark.risk("R-124")
def test_nothing_identifying_is_left_in_any_byte(tmp_path: Path) -> None:
    """Of all that the table lists, of nested, private and overlaid values, and of old UIDs none is found."""
    images = tiny_head(clot=True, name="ZQXSECRET^NAME")
    uids = {uid for ds in images for uid in _identifying(ds)}
    paths = _write(tmp_path / "in", images)
    assert SECRET in paths[0].read_bytes()
    exported, everything = _export(paths, tmp_path)
    assert SECRET not in everything.upper()
    assert not [uid for uid in uids if uid.encode() in everything]
    numbers = re.sub(rb"\d+(\.\d+){2,}", b"", everything)  # new UIDs are random: any date may be in one
    assert not [number for number in (*_DATES, b"987654") if number in numbers]
    ds = dcmread(exported[0])
    assert ds.PatientIdentityRemoved == "YES" and ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert [code.CodeValue for code in ds.DeidentificationMethodCodeSequence] == ["113100", "113105"]
    assert not [each for each in ds.iterall() if each.tag.is_private]
    assert (ds.StudyDescription, ds.SeriesDescription) == ("HEAD WITHOUT CONTRAST", "BONE HEAD")


def test_pixels_geometry_and_answer_stay(tmp_path: Path) -> None:
    """The exported slices are the same volume with the same analysis, under new UIDs that hang together."""
    images = tiny_head(clot=True)
    paths = _write(tmp_path / "in", images)
    exported, _ = _export(paths, tmp_path)
    before, after = _volume(paths), _volume(exported)
    np.testing.assert_array_equal(before.hu, after.hu)
    np.testing.assert_array_equal(before.positions_mm, after.positions_mm)
    assert _answer(before) == _answer(after) and _answer(after)["flagged"]
    made = [dcmread(path) for path in exported]
    assert len({ds.StudyInstanceUID for ds in made}) == len({ds.SeriesInstanceUID for ds in made}) == 1
    assert len({ds.SOPInstanceUID for ds in made}) == len(images)


def test_a_real_head_is_the_same_head_afterwards(real_head: Path, tmp_path: Path) -> None:
    """Gantry tilt, privates of the vendor and all: same volume, same answer, none of its UIDs or its ID."""
    paths = sorted(real_head.glob("*.dcm"))
    known = {
        str(dcmread(path, stop_before_pixels=True)[key].value) for path in paths for key in _GEOMETRY[1:]
    }
    exported, everything = _export(paths, tmp_path)
    before, after = _volume(paths), _volume(exported)
    np.testing.assert_array_equal(before.hu, after.hu)
    assert _answer(before) == _answer(after)
    assert not [uid for uid in known if uid.encode() in everything]
    assert b"QMNx85rKkkg" not in everything and b"GEMS_" not in everything and b"ALIZA" not in everything


def test_the_result_goes_with_the_same_uids_and_no_name(sqlite: Database, tmp_path: Path) -> None:
    """What the service said, in which slices; no time of day, no destination, no reader, no patient."""
    add_analysed(sqlite, tmp_path / "spool", "1.2.3.77", StudyState.FLAGGED, name="ZQXSECRET^NAME")
    paths = sorted((tmp_path / "spool" / "studies" / "1.2.3.77").glob("*.dcm"))
    told = service.study(sqlite, "1.2.3.77")
    exported, everything = _export(paths, tmp_path, told)
    result = json.loads((tmp_path / "exported" / "result.json").read_text())
    assert result["analysis"]["findings"][0]["volume_ml"] == told["analysis"]["findings"][0]["volume_ml"]
    named = {each["sop_instance_uid"] for each in result["slices"]}
    assert named == {dcmread(path).SOPInstanceUID for path in exported}
    for secret in (
        SECRET,
        b"1.2.3.77",
        b"ID7",
        b"ACC9",
        b"SCANNER",
        told["ledger"]["last_slice"][:10].encode(),
    ):
        assert secret not in everything


@pytest.mark.risk("R-124")
def test_what_cannot_be_cleared_stays_here(tmp_path: Path) -> None:
    """Text burned into pixels, reports, broken files: left out, and told; with nothing left, no file."""
    images = tiny_head()[:3]
    images[1].BurnedInAnnotation = "YES"
    paths = _write(tmp_path / "in", [*images, dose_report(images[0].StudyInstanceUID)])
    paths[2].write_bytes(b"no DICOM")
    done = support.export(EMPTY, paths, tmp_path / "some.zip")
    assert done.images == 1 and sorted(done.left_out.values()) == [1, 1, 1]
    with pytest.raises(RemovalError, match="text is burned into its pixels"):
        support.export(EMPTY, [paths[1]], tmp_path / "none.zip")
    assert sorted(path.name for path in tmp_path.glob("*.zip*")) == ["some.zip"]
    with pytest.raises(RemovalError, match="is there already"):
        support.export(EMPTY, paths, tmp_path / "some.zip")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CCT nativ Mueller", "HEAD WITHOUT CONTRAST"),
        ("Schädel CTA Willis, Bruce", "CTA HEAD"),
        ("Müller", ""),
    ],
)
def test_of_a_description_only_its_meaning_is_kept(text: str, said: str) -> None:
    """In words of ours, so that no word of it can be somebody's name."""
    assert meaning(text) == said


def test_a_compressed_image_keeps_its_codestream(tmp_path: Path) -> None:
    """Pixels are copied, not decoded: what broke a decoder at a site breaks it at support's, too."""
    from pydicom.uid import RLELossless

    image = tiny_head()[0]
    image.compress(RLELossless, generate_instance_uid=False)
    (path,) = _write(tmp_path / "in", [image])
    ((exported,), _) = _export([path], tmp_path)
    assert dcmread(BytesIO(exported.read_bytes())).PixelData == dcmread(path).PixelData
