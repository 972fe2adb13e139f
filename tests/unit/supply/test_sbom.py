"""The bill of materials is one that tools read, and leaves no pin out."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from supply import sbom
from tests.unit.supply.pins import REPOSITORY, pins

validation = pytest.importorskip("cyclonedx.validation.json")
schema = pytest.importorskip("cyclonedx.schema")


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make sbom` writes."""
    out = tmp_path_factory.mktemp("sbom") / "sbom.json"
    sbom.write(out)
    return out


@pytest.mark.risk("R-120")
def test_it_is_valid_and_names_every_pin_with_its_hashes(bill: Path) -> None:
    """CycloneDX's own schema takes it; each line of requirements.txt is a component, and no other is."""
    text = bill.read_text()
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text) is None
    components: list[dict[str, Any]] = json.loads(text)["components"]
    assert sorted((each["name"], each["version"]) for each in components) == sorted(
        (pin.name, pin.version) for pin in pins()
    )
    for each in components:
        hashes = [told for reference in each["externalReferences"] for told in reference["hashes"]]
        assert hashes and {told["alg"] for told in hashes} == {"SHA-256"}


def test_it_says_what_ships(bill: Path) -> None:
    """Scope and licence: what a site runs is told apart from what built it."""
    components = {each["name"]: each for each in json.loads(bill.read_text())["components"]}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for asked in project["dependencies"]:
        name = canonicalize_name(asked.split(">")[0].split("[")[0].strip())
        assert components[name]["scope"] == "required"
        assert components[name]["licenses"]
    assert components["pytest"]["scope"] == "excluded"
    assert components["lightning"]["scope"] == "optional"
