"""The published study's two classifiers, chained, run wherever a package runs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from ich_triage.domain.input_spec import InputSpec
from ich_triage.inference.engine import compare
from ich_triage.inference.openvino_engine import OpenVinoEngine
from ich_triage.model.calibration import Calibration, OperatingPoint
from ich_triage.model.chain import ChainNet, ChainSpec, classifier
from ich_triage.model.manifest import Manifest
from ich_triage.model.package import Golden, Package, pack_weights, save, unpack_weights

SPEC = ChainSpec(binary="resnet10t", multilabel="resnet10t")


def test_a_subtype_is_as_likely_as_a_bleed_times_the_subtype_given_one() -> None:
    """The chain's probabilities are the product, and the study takes the highest of its slices."""
    torch.manual_seed(0)
    network = ChainNet(SPEC).eval()
    x = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        embedding, masks = network.slice_net(x)
        slices, study = network.sequence_net(embedding[None], torch.rand(1, 3, 1))
        bleed = torch.sigmoid(network.slice_net.binary(x))
        subtypes = torch.sigmoid(network.slice_net.multilabel(x))
    torch.testing.assert_close(torch.sigmoid(slices[0, :, 1:]), bleed * subtypes)
    torch.testing.assert_close(torch.sigmoid(slices[0, :, :1]), bleed)
    torch.testing.assert_close(study[0], slices[0].amax(0))
    assert masks.shape == (3, 5, 16, 16)
    assert torch.sigmoid(masks).max() < 1e-6


def test_a_sure_chain_stays_finite() -> None:
    """Certainty in both classifiers gives a large logit, not an infinite one."""
    network = ChainNet(SPEC).eval()
    with torch.inference_mode():
        for part in (network.slice_net.binary, network.slice_net.multilabel):
            part.get_classifier().bias.fill_(60.0)
        logits, _ = network.slice_net(torch.rand(1, 3, 64, 64))
    assert torch.isfinite(logits).all()
    assert logits[0, 1] > 10


def test_a_chain_is_a_package_like_any_other(tmp_path: Path) -> None:
    """Saved, loaded and run through OpenVINO it gives its golden answer."""
    torch.manual_seed(0)
    weights = pack_weights(ChainNet(SPEC))
    network = unpack_weights(ChainNet(SPEC), weights)
    x = np.random.default_rng(0).integers(0, 255, (2, 3, 64, 64), dtype=np.uint8)
    golden = Golden.make(network, x, np.array([0.0, 1.0], np.float32))
    manifest = Manifest(
        name="seed",
        version="1",
        created=datetime.now(UTC),
        synthetic=True,
        architecture=SPEC,
        input_spec=InputSpec(size=64, neighbour_offsets_mm=()),
        calibration=Calibration(),
        operating_points={"balanced": OperatingPoint(threshold=0.5, sensitivity=0.0, specificity=0.0)},
        code_version="0",
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    save(tmp_path, manifest=manifest, weights=weights, golden=golden, card="")
    engine = OpenVinoEngine(Package.load(tmp_path))
    slices = engine.slices(golden.tensor)
    compare(engine, slices, engine.study(slices.embedding, golden.height))


def test_alexnet_comes_from_torchvision() -> None:
    """timm has none; torchvision's takes three channels and nothing else."""
    network = classifier("alexnet", 3, 5).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 128, 128)).shape == (1, 5)
    with pytest.raises(ValueError, match="3 channels, not 5"):
        classifier("alexnet", 5, 1)
