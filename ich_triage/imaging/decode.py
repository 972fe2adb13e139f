"""Stored pixel values of one frame, from every transfer syntax that the installed codecs decode.

Nothing is allocated on the word of the object: the header's own limits hold (`header.MAX_ROWS`), native
pixel data must be as long as rows, columns and bits ask for, and a compressed frame must state the size
that the header states, and be no longer than that size can be, before a decoder sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)

from ich_triage.errors import HeaderError, PixelDataError

from .attributes import MALFORMED
from .codestream import frame_size
from .header import PixelLocation, SliceHeader, open_dataset

# The C codec, where pydicom would otherwise take its own in Python.
_PLUGINS = {RLELossless: "pylibjpeg"}
# EOI and EOC alike; cannot occur within coded data. Decoders conceal its absence and guess the rest.
_END_OF_IMAGE = b"\xff\xd9"
# Coded frames are shorter than their pixels, or hardly longer. RLE unfolds to 64 times its length.
_MAX_GROWTH = 2
_SLACK_BYTES = 1 << 16


def read_pixels(header: SliceHeader) -> np.ndarray:
    """Stored values of one frame, (Rows, Columns), integer, sign and unused bits resolved.

    Raises `PixelDataError` when pixels are missing, truncated, of another size, or cannot be decoded.
    """
    return next(read_frames([header]))


def read_frames(headers: Sequence[SliceHeader]) -> Iterator[np.ndarray]:
    """Stored values of frames of *one* file, each (Rows, Columns), in the order given; opens it once.

    Raises `PixelDataError` as `read_pixels`.
    """
    try:
        with open_dataset(headers[0].path) as file:
            yield from read_frames_from(file, headers)
    except HeaderError as error:
        raise PixelDataError(str(error)) from error
    except MALFORMED as error:
        raise PixelDataError(f"pixels cannot be decoded ({type(error).__name__})") from None


def read_frames_from(file: BinaryIO, headers: Sequence[SliceHeader]) -> Iterator[np.ndarray]:
    """As `read_frames`, from a file that `header.open_dataset` has opened.

    Raises `PixelDataError` as `read_pixels`.
    """
    decoder = _decoder(headers[0])
    try:
        size = file.seek(0, 2)
        for header in headers:
            yield _read_frame(file, size, header, decoder)
    except MALFORMED as error:
        raise PixelDataError(f"pixels cannot be decoded ({type(error).__name__})") from None


def _decoder(header: SliceHeader) -> Decoder:
    uid = UID(header.transfer_syntax_uid or ExplicitVRLittleEndian)
    if uid == DeflatedExplicitVRLittleEndian:
        uid = ExplicitVRLittleEndian  # as `open_dataset` inflates it
    try:
        return get_decoder(uid)
    except NotImplementedError as error:
        raise PixelDataError(f"transfer syntax {uid} cannot be decoded") from error


def _read_frame(file: BinaryIO, size: int, header: SliceHeader, decoder: Decoder) -> np.ndarray:
    if header.pixels is None:
        raise PixelDataError("no pixel data")
    if header.samples_per_pixel != 1:
        raise PixelDataError("colour pixels, where CT numbers were expected")
    index = (header.frame_number or 1) - 1
    end = size if header.pixels.length is None else header.pixels.offset + header.pixels.length
    if end > size:
        raise PixelDataError("pixel data truncated")
    if decoder.is_native:
        pixels = _native(file, header.pixels, index, header, decoder)
    else:
        pixels = _compressed(file, header.pixels, index, header, decoder)
    if pixels.shape != (header.rows, header.columns):
        raise PixelDataError("decoded frame is not of the stated size")
    return pixels


def _native(
    file: BinaryIO, location: PixelLocation, index: int, header: SliceHeader, decoder: Decoder
) -> np.ndarray:
    frame_bytes = header.rows * header.columns * header.bits_allocated // 8
    if location.length is None or location.length < frame_bytes * header.number_of_frames:
        raise PixelDataError("pixel data shorter than rows, columns and bits ask for")
    file.seek(location.offset)
    pixels, _ = decoder.as_array(file, index=index, raw=True, **_options(header, header.number_of_frames))
    return _align(pixels, header)


def _align(pixels: np.ndarray, header: SliceHeader) -> np.ndarray:
    """Drop what stands outside the stored bits, overlays for one, and extend the sign (PS3.5 8.1.1)."""
    if header.bits_stored == header.bits_allocated:
        return pixels
    high_bit = min(max(header.high_bit, header.bits_stored - 1), header.bits_allocated - 1)
    return (pixels << (header.bits_allocated - 1 - high_bit)) >> (header.bits_allocated - header.bits_stored)


def _compressed(
    file: BinaryIO, location: PixelLocation, index: int, header: SliceHeader, decoder: Decoder
) -> np.ndarray:
    file.seek(location.offset)
    frame = get_frame(file, index, number_of_frames=header.number_of_frames)
    if len(frame) > _MAX_GROWTH * header.rows * header.columns * header.bits_allocated // 8 + _SLACK_BYTES:
        raise PixelDataError("compressed frame longer than its pixels can be")
    if RLELossless != decoder.UID:
        size = frame_size(frame)
        if size is None:
            raise PixelDataError("compressed frame has no readable start")
        if (size.rows, size.columns, size.components) != (header.rows, header.columns, 1):
            raise PixelDataError("compressed frame is not of the stated size")
        if _END_OF_IMAGE not in frame[-16:]:
            raise PixelDataError("compressed frame truncated")
    pixels, _ = decoder.as_array(
        encapsulate([frame]),
        index=0,
        raw=True,
        decoding_plugin=_PLUGINS.get(decoder.UID, ""),
        **_options(header, 1),
    )
    return pixels


def _options(header: SliceHeader, number_of_frames: int) -> dict[str, Any]:
    return {
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": number_of_frames,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.photometric_interpretation or "MONOCHROME2",
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "pixel_representation": header.pixel_representation,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
    }
