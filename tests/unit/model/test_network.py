"""The network's shapes and the promises that its parts rely on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from ich_triage.model.network import (
    MASK_STRIDE,
    ArchitectureSpec,
    IchNet,
    mean_probability,
    relative_height,
)

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


def test_a_head_and_its_mirror_image_are_answered_alike() -> None:
    """Whatever the weights: the same logits, the masks mirrored; in training each is seen once."""
    torch.manual_seed(0)
    network = IchNet(replace(SPEC, mirrored=True)).eval()
    x, height = torch.rand(3, 5, 64, 64), torch.linspace(0, 1, 3)[None, :, None]
    with torch.inference_mode():
        embedding, mask = network.slice_net(x)
        other, turned = network.slice_net(x.flip(3))
        assert not torch.equal(embedding, other)
        torch.testing.assert_close(turned.flip(3), mask)
        here, there = (network.sequence_net(each[None], height) for each in (embedding, other))
        torch.testing.assert_close(here, there)
    assert network.train().slice_net(x)[0].shape == (3, SPEC.embedding)


def test_a_network_that_is_not_mirrored_answers_as_ever() -> None:
    """Packages of earlier releases keep their answers; a mirrored one of the same weights takes the mean of
    two views: of a study's logits, and of a voxel's probabilities.
    """
    torch.manual_seed(0)
    plain, mirrored = IchNet(SPEC).eval(), IchNet(replace(SPEC, mirrored=True)).eval()
    mirrored.load_state_dict(plain.state_dict())
    x, height = torch.rand(3, 5, 64, 64), torch.linspace(0, 1, 3)[None, :, None]
    with torch.inference_mode():
        (one, mask), (two, turned) = plain.slice_net(x), plain.slice_net(x.flip(3))
        studies = [plain.sequence_net(each[None], height)[1] for each in (one, two)]
        both, mean = mirrored.slice_net(x)
        torch.testing.assert_close(mean.sigmoid(), (mask.sigmoid() + turned.flip(3).sigmoid()) / 2)
        torch.testing.assert_close(
            mirrored.sequence_net(both[None], height)[1], (studies[0] + studies[1]) / 2
        )


def test_the_mean_of_two_masks_is_finite_whatever_the_logits() -> None:
    """Voxels that are sure in both views, and in half precision, which knows no probability below 6e-8."""
    one, other = torch.tensor([-40.0, 40.0, -40.0, 3.0]), torch.tensor([-40.0, 40.0, 40.0, 3.0])
    for number_format in (torch.float32, torch.float16):
        found = mean_probability(one.to(number_format), other.to(number_format))
        torch.testing.assert_close(found, torch.tensor([-40.0, 40.0, 0.0, 3.0]))


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
