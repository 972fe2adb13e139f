"""A model package: a folder with weights, manifest, golden input with its output, and a card.

| file | holds |
| --- | --- |
| model.safetensors | weights; matrices as float16, the rest float32 |
| manifest.json | `Manifest` |
| golden.safetensors | one input and the output that the trained network gave for it |
| card.md | the model card, for people |
| trained_on.txt | hashes of the studies that it learned from; phantoms have their seeds in the manifest |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from ..domain.finding import PackageIdentity
from ..errors import PackageError
from .chain import ChainNet, ChainSpec
from .manifest import Manifest
from .network import IchNet

#: What a package may hold: a part for slices and a part for the slices of a study.
Network = IchNet | ChainNet
N = TypeVar("N", bound=nn.Module)

WEIGHTS, MANIFEST, GOLDEN, CARD = "model.safetensors", "manifest.json", "golden.safetensors", "card.md"
TRAINED_ON = "trained_on.txt"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One study's input and what the network must answer."""

    #: (Z, C, S, S) in 0..255, to be divided by 255
    x: NDArray[np.uint8]
    #: relative height of each slice, (Z,) in 0..1
    height: NDArray[np.float32]
    #: (Z, 5, S/4, S/4)
    mask_logits: NDArray[np.float32]
    #: (Z, 6)
    slice_logits: NDArray[np.float32]
    #: (6,)
    study_logits: NDArray[np.float32]

    @property
    def tensor(self) -> torch.Tensor:
        """The input as the network takes it, float32 (Z, C, S, S) in 0..1."""
        return torch.from_numpy(self.x).float() / 255

    @classmethod
    def make(cls, network: Network, x: NDArray[np.uint8], height: NDArray[np.float32]) -> Golden:
        """Ask the network, in float32 on the CPU, for the answers to `x`."""
        with torch.inference_mode():
            embedding, mask = network.slice_net(torch.tensor(x).float() / 255)
            slices, study = network.sequence_net(embedding[None], torch.from_numpy(height)[None, :, None])
        return cls(
            x=x,
            height=height,
            mask_logits=mask.numpy(),
            slice_logits=slices[0].numpy(),
            study_logits=study[0].numpy(),
        )


@dataclass(frozen=True, kw_only=True)
class Package:
    """A loaded, checked package."""

    #: its manifest
    manifest: Manifest
    #: the network in float32 on the CPU, in evaluation mode, without gradients; not to be changed
    network: Network
    #: stored question and answer
    golden: Golden
    #: `study_hash` of every study that it learned from, and that those learned from that it goes on from
    trained_on: frozenset[str] = frozenset()

    @property
    def identity(self) -> PackageIdentity:
        """Which model it is, for every output."""
        return self.manifest.identity

    @classmethod
    def load(cls, path: Path) -> Package:
        """Read and check a package folder.

        Raises PackageError: which file is missing, altered or of another release, and what to do.
        """
        manifest = read_manifest(path)
        weights = _read(path, WEIGHTS)
        if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
            raise PackageError(
                f"{WEIGHTS} of model package {path} has another SHA-256 than its manifest says; "
                "copy the package again from where it was made"
            )
        try:
            network = _network(manifest, weights)
            golden = Golden(**load_arrays(_read(path, GOLDEN)))
        except (SafetensorError, RuntimeError, TypeError) as error:
            raise PackageError(
                f"model package {path} does not fit its own manifest: {str(error).splitlines()[0]}; "
                "copy the package again from where it was made"
            ) from error
        return cls(manifest=manifest, network=network, golden=golden, trained_on=_trained_on(path))

    @classmethod
    def embedded(cls) -> Package:
        """The package shipped with the product. Raises PackageError."""
        return cls.load(embedded_path())


def read_manifest(path: Path) -> Manifest:
    """The manifest of a package folder; weights are not looked at. Raises PackageError."""
    try:
        return Manifest.model_validate_json(_read(path, MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise PackageError(
            f"{MANIFEST} of model package {path}: {where}: {first['msg']}; "
            "use a package made by this release (`python -m train embedded`)"
        ) from error


def embedded_path() -> Path:
    """Folder of the package shipped with the product."""
    return Path(str(resources.files(__package__))) / "embedded"


def pack_weights(network: nn.Module) -> bytes:
    """The network's weights as stored; matrices as float16, which keeps a package small."""
    return save_tensors(
        {
            name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
            for name, value in network.state_dict().items()
        }
    )


def study_hash(study_instance_uid: str) -> str:
    """How `trained_on` names a study, wherever its table lies."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:16]


def save(
    path: Path,
    *,
    manifest: Manifest,
    weights: bytes,
    golden: Golden,
    card: str,
    trained_on: frozenset[str] = frozenset(),
) -> None:
    """Write a package folder; `golden` and the manifest's hash must come from the same `weights`."""
    path.mkdir(parents=True, exist_ok=True)
    (path / WEIGHTS).write_bytes(weights)
    (path / GOLDEN).write_bytes(
        save_arrays({name: np.ascontiguousarray(v) for name, v in vars(golden).items()})
    )
    (path / CARD).write_text(card)
    (path / TRAINED_ON).write_text("".join(f"{each}\n" for each in sorted(trained_on)))
    # Last, so that a folder with a manifest is a whole package.
    (path / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def unpack_weights(network: N, weights: bytes) -> N:
    """Load stored weights and set up for inference. Raises RuntimeError if they do not fit."""
    network.load_state_dict(
        {
            name: value.float() if value.is_floating_point() else value
            for name, value in load_tensors(weights).items()
        }
    )
    return network.eval().requires_grad_(False)


def _trained_on(path: Path) -> frozenset[str]:
    told = path / TRAINED_ON
    return frozenset(told.read_text().split()) if told.exists() else frozenset()


def _network(manifest: Manifest, weights: bytes) -> Network:
    spec = manifest.architecture
    if isinstance(spec, ChainSpec):
        return unpack_weights(ChainNet(spec), weights)
    return unpack_weights(IchNet(spec), weights)


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise PackageError(
            f"model package {path} has no readable {name}; copy the package again from where it was made"
        ) from error
