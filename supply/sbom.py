"""`python -m supply.sbom`: build/sbom.json, the bill of materials (CycloneDX) of the hashed requirements.txt.

cyclonedx-py writes it; what it cannot know from pins alone is added: licence, and whether a package ships.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .licences import REPOSITORY, groups

OUT = REPOSITORY / "build" / "sbom.json"
#: CycloneDX's scope of each group of `licences.groups`; what another system or Python needs is optional
_SCOPES = ("required", "optional", "excluded")


def write(out: Path = OUT) -> None:
    """Write the bill; its folder is made."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "requirements.txt"]
    command += ["--pyproject", "pyproject.toml", "--mc-type", "application", "--output-reproducible"]
    # the test judges it: that takes four times as long as to write it
    command += ["--no-validate", "--output-format", "JSON", "--output-file", str(out)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    bill = json.loads(out.read_text(encoding="utf-8"))
    known = {
        package.name: (scope, package.licence)
        for scope, packages in zip(_SCOPES, groups().values(), strict=True)
        for package in packages
    }
    for component in bill["components"]:
        scope, licence = known.get(component["name"], ("optional", None))
        component["scope"] = scope
        component["description"] = f"requirements.txt: {component['name']}=={component['version']}"
        if licence:
            component["licenses"] = [{"license": {"name": licence}}]
    out.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
    print(f"wrote {OUT.relative_to(REPOSITORY)}")
