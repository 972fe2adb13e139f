"""`python -m supply.licences`: write docs/licences.md, from what the installed packages say of themselves.

pip-licenses reads their metadata; which of them ships is what pyproject.toml asks for and what that needs.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "licences.md"


class Kind(IntEnum):
    """What a licence asks of who hands the package on; the higher, the more."""

    #: name it and keep its text
    PERMISSIVE = 0
    #: the same, and let it be exchanged; changes to it stay under its licence
    WEAK_COPYLEFT = 1
    #: as its maker's own agreement says
    VENDOR = 2
    #: what is handed on together with it goes under its licence
    COPYLEFT = 3


#: licence as packages write it → kind; a licence that is not here is looked at by a person first
KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "0BSD", "Apache Software License", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD",
            "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "DFSG approved", "ISC",
            "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MIT-CMU", "PSF-2.0",
            "Python Software Foundation License", "Zlib",
        ),
        Kind.PERMISSIVE,
    ),
    **dict.fromkeys(
        ("LGPL-3.0-only", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"), Kind.WEAK_COPYLEFT
    ),
    **dict.fromkeys(("LicenseRef-NVIDIA-Proprietary", "NVIDIA Proprietary Software"), Kind.VENDOR),
    "GPL-3.0-only": Kind.COPYLEFT,
}  # fmt: skip
#: packages whose metadata do not say it → what their licence file says
BY_HAND = {
    "atheris": "Apache-2.0",
    "axe-playwright-python": "MIT",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # empty: names NVIDIA's packages
    "kubernetes-validate": "Apache-2.0",
    "pylibjpeg-libjpeg": "GPL-3.0-only",
}
#: the only copyleft that may be among what ships; docs/licences.md says what it asks
COPYLEFT_THAT_SHIPS = frozenset({"pylibjpeg-libjpeg"})
_WORDS = ("permissive", "weak copyleft", "of the vendor", "copyleft")
_HEAD = """# Licences of what we take from others

Written by `make licences`; a test holds it against what is installed. Packages for other systems than
Linux are left out.

What we hand out is our own code, under Apache-2.0, and recipes that fetch these packages where they are
installed. **Who hands on an image or a machine with them in it** keeps their licence files, which every
package carries in its own `.dist-info` folder, and minds what is not permissive:

- *Weak copyleft* (MPL-2.0, LGPL-3.0): as they are, nothing more than their text; whoever changes one of
  them hands on the changes.
- *Of the vendor*: NVIDIA's own agreement, as part of an application and unchanged. Machines without
  NVIDIA's cards can do without them.
- *Copyleft* (GPL-3.0): `pylibjpeg-libjpeg`, which decodes JPEG Lossless as many scanners send it. Code
  under Apache-2.0 may be combined with it; the combination is then handed on under GPL-3.0, with sources,
  and not together with NVIDIA's packages. Use at a site asks nothing. Without it such studies end as not
  analysed, with the reason.
"""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package and its licence."""

    #: as it is pinned
    name: str
    #: as it says itself
    licence: str

    @property
    def kind(self) -> Kind:
        """The most demanding of its licences, or the least where one may choose. Raises KeyError."""
        either = self.licence.split(" OR ")
        return min(max(KINDS[term.strip()] for term in re.split(r" AND |;", each)) for each in either)

    @property
    def row(self) -> str:
        """Its line on the page."""
        return f"| {self.name} | {self.licence} | {_WORDS[self.kind]} |"


def groups() -> dict[str, list[Package]]:
    """Heading → packages: what the service needs, what training and what development need besides."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {
        "What the service needs": project["project"]["dependencies"],
        "What training needs besides": project["project"]["optional-dependencies"]["train"],
        "What development and tests need besides": project["dependency-groups"]["dev"],
    }
    licences, seen, found = _licences(), set[str](), {}
    for heading, requirements in asked.items():
        names = _closure(requirements) - seen
        seen |= names
        found[heading] = [Package(name=name, licence=licences[name]) for name in sorted(names)]
    return found


def page() -> str:
    """The page."""
    parts = [_HEAD]
    for heading, packages in groups().items():
        rows = "\n".join(package.row for package in packages)
        parts.append(f"## {heading}\n\n| package | licence | kind |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _licences() -> dict[str, str]:
    command = [sys.executable, "-m", "piplicenses", "--format", "json", "--from", "mixed", "--with-system"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {canonicalize_name(each["Name"]): each["License"] for each in json.loads(told)} | BY_HAND


def _closure(requirements: Sequence[str]) -> set[str]:
    """Names of everything that these need here, themselves among it."""
    found: dict[tuple[str, str], None] = {}
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        for extra in ("", *asked.extras):
            if (name, extra) not in found:
                found[name, extra] = None
                waiting += _needs(name, extra)
    return {name for name, _ in found}


def _needs(name: str, extra: str) -> Iterable[Requirement]:
    for each in importlib.metadata.requires(name) or ():
        needed = Requirement(each)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield needed


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(REPOSITORY)}")
