"""The network's input shows the head and only the head, and masks find back to where they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ich_triage.domain.input_spec import BRAIN, InputSpec
from ich_triage.imaging.header import read_study
from ich_triage.imaging.prepare import CropBox, find_head, prepare, unproject
from ich_triage.imaging.select import select
from ich_triage.imaging.volume import assemble

SPEC = InputSpec(size=64)
POSITIONS = np.arange(30) * 5.0


def test_shape_range_and_channels(make_head) -> None:
    """One row of windows and neighbours per slice, float32 from 0 to 1."""
    prepared = prepare(make_head(), POSITIONS, (2.0, 2.0), SPEC)
    assert prepared.tensor.shape == (30, 5, 64, 64) and prepared.tensor.dtype == torch.float32
    assert prepared.tensor.min() >= -1e-6 and prepared.tensor.max() <= 1 + 1e-6
    assert prepared.tensor[15, 0, 32, 32] == pytest.approx(34 / 80, abs=1e-3)


def test_box_holds_the_head_with_its_margin(make_head) -> None:
    """The box is square, holds all bone, and is hardly larger than head and margin."""
    head = make_head(shift_mm=15.0)
    box = find_head(torch.from_numpy(head).float(), (2.0, 2.0), margin=0.05)
    _, rows, columns = np.nonzero(head > 500)
    assert box.height == box.width
    assert box.top <= rows.min() and box.top + box.height > rows.max()
    assert box.left <= columns.min() and box.left + box.width > columns.max()
    assert box.height * 2.0 < 1.25 * (rows.max() - rows.min() + 1) * 2.0


def test_box_ignores_the_head_rest(make_head) -> None:
    """A thin shell beside the head does not widen the box."""
    head = make_head()
    bare = find_head(torch.from_numpy(head).float(), (2.0, 2.0))
    head[:, 20:110, 4:6] = 200
    head[:, 20:110, 122:124] = 200
    assert find_head(torch.from_numpy(head).float(), (2.0, 2.0)) == bare


def test_pixels_that_are_not_square(make_head) -> None:
    """Rows and columns of unequal spacing give the same picture as square pixels."""
    square = prepare(make_head(), POSITIONS, (2.0, 2.0), SPEC).tensor
    tall = np.repeat(make_head(), 2, axis=1)
    prepared = prepare(tall, POSITIONS, (1.0, 2.0), SPEC)
    assert abs(prepared.box.height - 2 * prepared.box.width) <= 2
    assert (prepared.tensor - square).abs().mean() < 0.02


def test_head_that_touches_the_edge(make_head) -> None:
    """A box that reaches beyond the image is filled with air, and masks still find back."""
    head = make_head(shift_mm=40.0)
    prepared = prepare(head, POSITIONS, (2.0, 2.0), SPEC)
    assert prepared.box.left + prepared.box.width > 128
    back = unproject(prepared.tensor[:, :1], prepared)[:, 0]
    assert back.shape == head.shape
    assert ((back[15] > 0.2) == torch.from_numpy(head[15] > 16)).float().mean() > 0.97


def test_neighbours_are_physical(make_head) -> None:
    """Neighbours lie 5 mm up and down the normal, between slices where spacing asks for it."""
    hu = torch.zeros(5, 32, 32) + torch.tensor([0.0, 10, 20, 30, 40])[:, None, None]
    positions = [0.0, 2.5, 5.0, 15.0, 25.0]
    tensor = prepare(hu, positions, (8.0, 8.0), SPEC, box=CropBox(top=0, left=0, height=32, width=32)).tensor
    above, below = tensor[:, 3, 0, 0] * 80, tensor[:, 4, 0, 0] * 80
    torch.testing.assert_close(above, torch.tensor([20.0, 22.5, 25.0, 35.0, 40.0]))
    torch.testing.assert_close(below, torch.tensor([0.0, 0.0, 0.0, 25.0, 35.0]))


def test_windows_come_before_the_resize() -> None:
    """A line of metal one pixel wide stays a thin bright line in the brain window, not a broad one."""
    hu = torch.full((1, 64, 64), 20.0)
    hu[:, :, 32] = 3000
    box = CropBox(top=0, left=0, height=64, width=64)
    tensor = prepare(hu, [0.0], (4.0, 4.0), InputSpec(size=16, neighbour_offsets_mm=()), box=box).tensor
    assert tensor[0, 0].max() < 0.6  # 20 HU is 0.25; saturated after a resize it would be 1


def test_a_single_slice_and_an_empty_volume() -> None:
    """One slice is its own neighbour; air gives the whole image as box."""
    prepared = prepare(np.full((1, 48, 64), -1000.0), [0.0], (4.0, 4.0), SPEC)
    assert prepared.box == CropBox(top=0, left=0, height=48, width=64)
    assert prepared.tensor.shape == (1, 5, 64, 64) and not prepared.tensor.any()


def test_a_lesion_finds_back_to_its_place(make_head) -> None:
    """A spot segmented on the network's grid returns to the pixels where it was."""
    head = make_head(shift_mm=-12.0, turn_deg=8.0)
    head[12, 70:80, 40:50] = 75
    prepared = prepare(head, POSITIONS, (2.0, 2.0), InputSpec(size=96))
    spot = ((prepared.tensor[:, :1] * 80 - 75).abs() < 8).float()
    back = unproject(spot, prepared)[12, 0].numpy() > 0.5
    rows, columns = np.nonzero(back[66:84, 36:54])
    assert rows.mean() + 66 == pytest.approx(74.5, abs=1) and columns.mean() + 36 == pytest.approx(
        44.5, abs=1
    )


def test_the_real_head(real_head) -> None:
    """The real head fills its square, from ear to ear and from nose to occiput."""
    volume = assemble(select(read_study(sorted(real_head.glob("*.dcm")))[0]).chosen)
    prepared = prepare(volume.hu, volume.positions_mm, volume.pixel_spacing, InputSpec())
    assert prepared.tensor.shape == (28, 5, 256, 256)
    assert 190 < prepared.box.height * volume.pixel_spacing[0] < 225
    brain = prepared.tensor[18, 0]
    assert (brain > 0.2).float().mean() > 0.3
    assert BRAIN in InputSpec().windows


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_both_devices_agree(make_head) -> None:
    """CPU and CUDA give the same input to 1e-4."""
    hu = torch.from_numpy(make_head()).float()
    on_cpu = prepare(hu, POSITIONS, (2.0, 2.0), SPEC)
    on_cuda = prepare(hu.cuda(), POSITIONS, (2.0, 2.0), SPEC)
    assert on_cuda.tensor.is_cuda and on_cuda.box == on_cpu.box
    torch.testing.assert_close(on_cuda.tensor.cpu(), on_cpu.tensor, atol=1e-4, rtol=0)
