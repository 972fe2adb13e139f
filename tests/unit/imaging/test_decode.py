"""Stored values come out exactly, from every transfer syntax, and from nothing that lies about its size."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from ich_triage.errors import PixelDataError
from ich_triage.imaging.codestream import FrameSize, frame_size
from ich_triage.imaging.decode import read_frames, read_pixels
from ich_triage.imaging.header import read_headers

#: 16 × 16, value (37 y + 11 x) mod 4096, coded by OpenJPH; pydicom has no encoder for this syntax.
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
    "kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHsAAf+TwAAmR/4FB3QAAMAAEsAAEwDIAQd0AKL+Agd0AMAAE0AA"
    "E4Ci+ACCdABQof4AY1QAwAAVEAAFUBBC+KpwAnUApCQS6cAhAey2AMAAKyAAFohERERE58Cnp6fCeABIBEEQBEH+/YQge/YQgey6AP/Z"
)


def _pixels(dtype: str = "int16", low: int = -1024, high: int = 3000) -> np.ndarray:
    return np.random.default_rng(1).integers(low, high, (64, 48)).astype(dtype)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless,
        JPEGLSLossless, JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)  # fmt: skip
@pytest.mark.parametrize(
    ("dtype", "low", "high", "bits"),
    [("int16", -1024, 3000, 16), ("uint16", 0, 4096, 12), ("int16", -2000, 2000, 12)],
)
@pytest.mark.risk("R-015")
def test_every_syntax_gives_the_values_back(
    write, make_slice, syntax: str, dtype: str, low: int, high: int, bits: int
) -> None:
    """Signed and unsigned values of 12 and 16 bits survive each lossless transfer syntax exactly."""
    pixels = _pixels(dtype, low, high)
    ds = make_slice(pixels, BitsStored=bits, HighBit=bits - 1)
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    (header,) = read_headers(write(ds))
    np.testing.assert_array_equal(read_pixels(header), pixels)


def test_big_endian(tmp_path: Path, make_slice) -> None:
    """The retired big-endian syntax, which archives still send, decodes too."""
    pixels = _pixels()
    ds = make_slice(pixels)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = pixels.byteswap().tobytes()
    ds.save_as(tmp_path / "be.dcm", implicit_vr=False, little_endian=False, enforce_file_format=True)
    (header,) = read_headers(tmp_path / "be.dcm")
    np.testing.assert_array_equal(read_pixels(header), pixels)


@pytest.mark.peer
@pytest.mark.parametrize("process", ["--encode-lossless", "--encode-lossless-sv1"])
def test_jpeg_lossless_of_dcmtk(write_slice, tmp_path: Path, process: str) -> None:
    """JPEG lossless, both processes, as DCMTK writes it, decodes exactly."""
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("dcmcjpeg of DCMTK is not installed")
    pixels = _pixels("uint16", 0, 4096)
    source = write_slice(pixels, BitsStored=12, HighBit=11)
    subprocess.run(["dcmcjpeg", process, source, tmp_path / "jpeg.dcm"], check=True, capture_output=True)
    (header,) = read_headers(tmp_path / "jpeg.dcm")
    np.testing.assert_array_equal(read_pixels(header), pixels)


def test_htj2k(write, make_slice) -> None:
    """High-throughput JPEG 2000 decodes exactly."""
    y, x = np.mgrid[0:16, 0:16]
    pixels = ((37 * y + 11 * x) % 4096).astype(np.uint16)
    (header,) = read_headers(write(_compressed(make_slice(pixels), HTJ2KLossless, HTJ2K)))
    np.testing.assert_array_equal(read_pixels(header), pixels)


def _compressed(ds: Dataset, syntax: str, *frames: bytes) -> Dataset:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.parametrize("signed", [False, True])
def test_bits_outside_the_stored_ones_do_not_count(write_slice, signed: bool) -> None:
    """Overlay bits above the stored bits are dropped and the sign is taken from the stored ones."""
    low, high = (-2048, 2048) if signed else (0, 4096)
    pixels = _pixels("int16", low, high)
    raw = (pixels.astype(np.uint16) & 0x0FFF) | 0xA000
    path = write_slice(raw.astype(np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    (header,) = read_headers(path)
    np.testing.assert_array_equal(read_pixels(header), pixels)


def test_high_bit_at_the_top(write_slice) -> None:
    """Twelve bits kept in the upper part of the word, as old scanners did, are shifted down."""
    pixels = _pixels("uint16", 0, 4096)
    (header,) = read_headers(write_slice(pixels << 4, BitsStored=12, HighBit=15))
    np.testing.assert_array_equal(read_pixels(header), pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_single_frames_of_a_multi_frame_image(write, make_enhanced, syntax: str) -> None:
    """Each frame is found, in any order, without decoding its neighbours."""
    frames = np.random.default_rng(2).integers(-1000, 1000, (5, 32, 32)).astype(np.int16)
    ds = make_enhanced(frames)
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax, generate_instance_uid=False)
    headers = read_headers(write(ds))
    got = list(read_frames([headers[3], headers[0]]))
    np.testing.assert_array_equal(got, frames[[3, 0]])


def test_same_values_as_pydicom_on_a_real_head(real_head: Path) -> None:
    """Our short path gives what pydicom's own gives."""
    path = real_head / "16.dcm"
    (header,) = read_headers(path)
    np.testing.assert_array_equal(read_pixels(header), dcmread(path).pixel_array)


def _refused(path: Path) -> str:
    header = read_headers(path)[0]
    with pytest.raises(PixelDataError) as caught:
        read_pixels(header)
    assert "Secret" not in str(caught.value)
    return str(caught.value)


def test_truncated_file(write_slice) -> None:
    """A file cut short inside its pixels is refused."""
    path = write_slice()
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated" in _refused(path)


def test_no_pixel_data(write_slice) -> None:
    """A CT header without pixels is refused."""
    assert "no pixel data" in _refused(write_slice(PixelData=None))


def test_pixel_data_shorter_than_stated(write_slice) -> None:
    """Rows and columns that ask for more than is there are refused."""
    assert "shorter" in _refused(write_slice(Rows=65))


def test_frame_beyond_the_pixel_data(write, make_enhanced) -> None:
    """More frames stated than stored are refused, not read from beyond."""
    ds = make_enhanced(np.zeros((4, 8, 8), dtype=np.int16))
    ds.PixelData = ds.PixelData[: 8 * 8 * 2 * 3]
    assert "shorter" in _refused(write(ds))


def test_floating_point_pixels(write, make_slice) -> None:
    """Parametric maps keep their pixels elsewhere and are no CT numbers."""
    ds = make_slice(PixelData=None)
    ds.FloatPixelData = np.zeros(64 * 64, dtype=np.float32).tobytes()
    assert "no pixel data" in _refused(write(ds))


def test_colour(write_slice) -> None:
    """A colour picture in a CT object, as dose pages are, is refused."""
    assert "colour" in _refused(write_slice(SamplesPerPixel=3))


def test_unknown_transfer_syntax(write, make_slice) -> None:
    """A transfer syntax without codec, video for one, is refused by its UID."""
    ds = _compressed(make_slice(), "1.2.840.10008.1.2.4.102", b"\0" * 64)
    assert "1.2.840.10008.1.2.4.102" in _refused(write(ds))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=["j2k", "jpegls"])
@pytest.mark.risk("R-115")
def test_compressed_bomb(write, make_slice, syntax: str) -> None:
    """A codestream that is larger than the header says never reaches a decoder."""
    big = make_slice(np.zeros((512, 512), dtype=np.uint16))
    big.compress(syntax, generate_instance_uid=False)
    small = make_slice(np.zeros((64, 64), dtype=np.uint16))
    small.file_meta.TransferSyntaxUID = syntax
    small["PixelData"] = big["PixelData"]
    assert "stated size" in _refused(write(small))


@pytest.mark.risk("R-115")
def test_run_length_bomb(write, make_slice) -> None:
    """RLE states no size: a frame that is far longer than its pixels never reaches the decoder."""
    segments = struct.pack("<16L", 2, 64, 100_064, *[0] * 13)
    bomb = _compressed(make_slice(), RLELossless, segments + b"\x81\x00" * 100_000)
    assert "longer than its pixels" in _refused(write(bomb))


@pytest.mark.parametrize(
    "syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless], ids=["j2k", "jpegls", "rle"]
)
@pytest.mark.parametrize("damage", ["noise", "half", "empty"])
def test_damaged_codestream(write, make_slice, syntax: str, damage: str) -> None:
    """A damaged frame ends in PixelDataError; what a codec would guess of a half frame is not taken."""
    ds = make_slice(_pixels("uint16", 0, 4096))
    ds.compress(syntax, generate_instance_uid=False)
    frame = ds.PixelData[16:]  # past an empty offset table and the fragment's own head
    broken = {"noise": b"\x93" * len(frame), "half": frame[: len(frame) // 4 * 2], "empty": bytes(2)}[damage]
    _refused(write(_compressed(ds, syntax, broken)))


def test_size_of_codestreams() -> None:
    """The size is read from the first bytes of each family, past fill bytes and other segments."""
    assert frame_size(HTJ2K) == FrameSize(rows=16, columns=16, components=1)
    sof = b"\xff\xc3" + struct.pack(">HBHHB", 11, 12, 60000, 50000, 1)
    assert frame_size(b"\xff\xd8\xff\xff\xe0\x00\x04ab" + sof) == FrameSize(
        rows=60000, columns=50000, components=1
    )
    assert frame_size(b"\xff\xd8") is None
    assert frame_size(b"\x00\x00") is None
    assert frame_size(b"") is None
