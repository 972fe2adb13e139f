"""The network's shapes and the promises that its parts rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from ich_triage.model.network import MASK_STRIDE, ArchitectureSpec, IchNet, relative_height

SPEC = ArchitectureSpec(decoder=16, embedding=32, hidden=16)


@pytest.mark.parametrize("backbone", ["mobilenetv4_conv_small", "resnet10t", "efficientnet_lite0"])
def test_any_backbone_gives_masks_at_a_quarter(backbone: str) -> None:
    """Backbones are exchanged by name alone."""
    network = IchNet(ArchitectureSpec(backbone=backbone, decoder=16, embedding=32, hidden=16)).eval()
    with torch.inference_mode():
        embedding, mask = network.slice_net(torch.rand(2, 5, 64, 64))
        slices, study = network.sequence_net(embedding[None], torch.rand(1, 2, 1))
    assert embedding.shape == (2, 32)
    assert mask.shape == (2, 5, 64 // MASK_STRIDE, 64 // MASK_STRIDE)
    assert slices.shape == (1, 2, 6)
    assert study.shape == (1, 6)


def test_slice_is_read_in_the_light_of_its_neighbours() -> None:
    """Changing one slice changes what is said of another."""
    torch.manual_seed(0)
    sequence = IchNet(SPEC).eval().sequence_net
    embedding, height = torch.rand(1, 5, 32), torch.linspace(0, 1, 5)[None, :, None]
    changed = embedding.clone()
    changed[0, 4] += 3
    with torch.inference_mode():
        before, after = sequence(embedding, height)[0], sequence(changed, height)[0]
    assert (before[0, 0] - after[0, 0]).abs().max() > 1e-4


def test_height_runs_from_feet_to_head() -> None:
    """Height is relative, whatever the spacing; a single slice stands at the bottom."""
    np.testing.assert_allclose(relative_height(np.array([-10.0, 0.0, 30.0])), [0, 0.25, 1])
    assert relative_height(np.array([5.0])).tolist() == [0]


def test_backbone_starts_from_a_local_file(tmp_path: Path) -> None:
    """Pretrained weights of three channels are adapted to ours without any network."""
    source = timm.create_model("resnet10t", pretrained=False, num_classes=7)
    save_file(source.state_dict(), tmp_path / "backbone.safetensors")
    network = IchNet(ArchitectureSpec(backbone="resnet10t"))
    assert network.load_backbone(tmp_path / "backbone.safetensors")
    ours = network.slice_net.backbone.state_dict()["layer1.0.conv1.weight"]
    torch.testing.assert_close(ours, source.state_dict()["layer1.0.conv1.weight"])
