"""`python -m supply.audit`: known weaknesses of what requirements.txt pins, as OSV (osv.dev) knows them.

Ends with 1 where a pinned package has one. Where OSV cannot be asked it says so and ends with 0: a network
that shuts it out is no finding.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPOSITORY = Path(__file__).parents[1]
OSV = "https://api.osv.dev/v1/query"
#: how pip-audit's last line begins when the service did not answer as it should
_AWAY = ("requests.exceptions.", "pip_audit._service.interface.", "ERROR:pip_audit._cli:Tip: your network")


def audit(requirements: Path, *, osv_url: str = OSV, timeout_s: int = 15) -> int:
    """Print what is known of the pins in `requirements`; 1 with a finding, 0 without, 2 where it failed."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip"]
        command += ["--require-hashes", "--vulnerability-service", "osv", "--osv-url", osv_url]
        command += ["--timeout", str(timeout_s), "--progress-spinner", "off"]
        command += ["--cache-dir", folder, "--format", "json", "--output", str(report)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if report.exists() and report.stat().st_size:
            return _findings(json.loads(report.read_text())["dependencies"])
    last = ([line for line in told.stderr.splitlines() if line.strip()] or ["no word"])[-1]
    if last.startswith(_AWAY):
        print(f"not audited: {osv_url} does not answer here ({last.split(':')[0]}).")
        print("Nothing is known of weaknesses today: run `make audit` where it can be reached.")
        return 0
    print(f"pip-audit failed: {last}")
    return 2


def _findings(packages: list[dict[str, Any]]) -> int:
    """One line for each weakness."""
    found = [(package, each) for package in packages for each in package.get("vulns", ())]
    for package, each in found:
        names = ", ".join((each["id"], *each["aliases"]))
        mended = " or ".join(each["fix_versions"]) or "no release yet"
        print(f"{package['name']} {package['version']}: {names}; mended in {mended}")
    print(f"{len(packages)} packages audited, {len(found)} known weaknesses")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(audit(REPOSITORY / "requirements.txt"))
