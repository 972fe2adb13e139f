"""The registry: published packages in one folder, each whole and never changed.

`<folder>/packages/<name>-<version>-<first 12 digits of the weights' SHA-256>/`. Which of them is in force is
not written here but in the database (docs/decisions/0006-registry.md).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import PackageError
from .manifest import Manifest
from .package import MANIFEST, Package, embedded_path, read_manifest

#: what the package that ships with the product is called beside the published ones
SHIPPED = "embedded"
#: names and versions become names of folders
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_READ_ONLY, _FOLDER_MODE = 0o444, 0o755


@dataclass(frozen=True, kw_only=True)
class PackageFolder:
    """A package where it lies, and what it must be."""

    #: its name in the registry, `SHIPPED`, or the path that the configuration pins
    name: str
    #: its folder
    path: Path
    #: SHA-256 that its manifest must have, hex; None where nothing but its own hash vouches for it
    manifest_sha256: str | None = None
    #: whether it was trained on synthetic data; None where only its manifest says so
    synthetic: bool | None = None

    def manifest(self) -> Manifest:
        """What it says of itself. Raises PackageError when that is not what it said when it was promoted."""
        manifest = read_manifest(self.path)
        if self.manifest_sha256 not in (None, manifest_sha256(self.path)):
            raise PackageError(
                f"{MANIFEST} of model package {self.name} has another SHA-256 than when it was promoted; "
                "copy the package into the registry again from where it was made"
            )
        return manifest

    def load(self) -> Package:
        """The package, checked. Raises PackageError."""
        self.manifest()
        return Package.load(self.path)


def shipped() -> PackageFolder:
    """The package that comes with the product."""
    return PackageFolder(name=SHIPPED, path=embedded_path())


def manifest_sha256(path: Path) -> str:
    """SHA-256 of a package's manifest, hex: with the hash of the weights in it, of all that decides."""
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()


class Registry:
    """Publishes packages and finds them again."""

    def __init__(self, folder: Path) -> None:
        self._packages = folder / "packages"

    def names(self) -> list[str]:
        """Names of all published packages; what is only half copied is not among them."""
        if not self._packages.is_dir():
            return []
        return sorted(each.name for each in self._packages.iterdir() if not each.name.startswith("."))

    def path(self, name: str) -> Path:
        """Where a package of that name lies, or would."""
        return self._packages / name

    def get(self, name: str) -> PackageFolder:
        """A published package, or the one that ships; the beginning of a name is enough where one has it.

        Raises PackageError: unknown, ambiguous or altered.
        """
        if name == SHIPPED:
            return shipped()
        names = self.names()
        found = [each for each in names if each == name] or [each for each in names if each.startswith(name)]
        if len(found) != 1:
            how_many = "more than one" if found else "no"
            raise PackageError(
                f"{how_many} published model package begins with {name!r}; "
                f"there are: {', '.join((SHIPPED, *names))}"
            )
        return self._described(found[0])

    def publish(self, source: Path) -> PackageFolder:
        """Copy a package folder into the registry, durably; twice is once.

        Raises PackageError when it is not whole, its name or version cannot name a folder, or another
        package is published under the same ones.
        """
        name = _folder_name(Package.load(source).manifest)
        if not self.path(name).exists():
            self._copy(source, name)
        published = self._described(name)
        if published.manifest_sha256 != manifest_sha256(source):
            raise PackageError(
                f"model package {name} is published already with another {MANIFEST} (calibration, figures); "
                "published packages never change: give this one another version"
            )
        return published

    def _described(self, name: str) -> PackageFolder:
        path = self.path(name)
        manifest = read_manifest(path)
        if _folder_name(manifest) != name:
            raise PackageError(
                f"model package {name} was altered in the registry: it calls itself "
                f"{_folder_name(manifest)}; remove the folder and publish the package again"
            )
        sha256, synthetic = manifest_sha256(path), manifest.synthetic
        return PackageFolder(name=name, path=path, manifest_sha256=sha256, synthetic=synthetic)

    def _copy(self, source: Path, name: str) -> None:
        """Under another name first, so that a package with its own name is whole on stable storage."""
        self._packages.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix=".", dir=self._packages))
        try:
            shutil.copytree(source, copy, dirs_exist_ok=True)
            Package.load(copy)
            _make_durable(copy)
            os.rename(copy, self.path(name))
            _sync(self._packages)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # somebody else has published it
                raise
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _folder_name(manifest: Manifest) -> str:
    for key, word in (("name", manifest.name), ("version", manifest.version)):
        if not _WORD.fullmatch(word):
            raise PackageError(
                f"a model package's {key} has 1 to 64 letters, digits, dots, dashes, pluses and underscores, "
                f"not {word!r}; change it in {MANIFEST}"
            )
    return manifest.identity.key


def _make_durable(folder: Path) -> None:
    """Files read-only, and everything on stable storage."""
    for parent, _, files in os.walk(folder, topdown=False):
        for file in files:
            path = Path(parent) / file
            path.chmod(_READ_ONLY)
            _sync(path)
        Path(parent).chmod(_FOLDER_MODE)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
