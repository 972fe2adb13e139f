"""Patient and study of a report are read from objects that may be hostile."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ich_triage.errors import HeaderError
from ich_triage.imaging import header
from ich_triage.pipeline.stages import _first_readable, _without_pixels
from tests.scanner import ct_slice


def _deflated(path: Path, *, zeros: int) -> Path:
    """A CT object whose deflated data set goes on for so many bytes after its header."""
    ds = ct_slice(1, study="1.2.3", series="1.2.4")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = zlib.decompress(whole[start:], -zlib.MAX_WBITS) + bytes(zeros)
    path.write_bytes(whole[:start] + deflate.compress(content) + deflate.flush())
    return path


def test_a_deflated_bomb_is_never_unfolded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the limit, and another object of the study gives patient and study."""
    monkeypatch.setattr(header, "MAX_INFLATED_BYTES", 1 << 21)
    bomb = _deflated(tmp_path / "bomb.dcm", zeros=1 << 23)
    good = _deflated(tmp_path / "good.dcm", zeros=0)
    with pytest.raises(HeaderError, match="grows beyond the limit"):
        _without_pixels(bomb)
    (source,) = _first_readable([bomb, good])
    assert source.StudyInstanceUID == "1.2.3"
    assert _first_readable([bomb]) == []
