"""The house rules that a program can check: the tree in README, the settings and commands in the docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from ich_triage.cli.app import app
from ich_triage.dicom.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES
from ich_triage.settings import (
    AllowedPeer,
    DicomDestination,
    MllpDestination,
    Settings,
    Subscriber,
    WebhookDestination,
)

REPOSITORY = Path(__file__).parents[2]
SOURCES = ("ich_triage", "train", "bench", "supply")


def _modules() -> set[str]:
    return {
        str(path.relative_to(REPOSITORY))
        for source in SOURCES
        for path in (REPOSITORY / source).rglob("*.py")
        if path.name != "__init__.py"
    }


def _tree() -> dict[str, str]:
    """Path → words beside it, from the indented tree in README."""
    block = re.search(r"```tree\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert block
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block[1].splitlines():
        name, _, words = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name]
        found["".join(folders)] = words.strip()
    return found


def test_readme_has_a_line_for_every_module_and_no_other() -> None:
    """The tree in README explains the house as it is."""
    tree = {path: words for path, words in _tree().items() if path.endswith(".py")}
    assert tree.keys() == _modules()
    assert all(tree.values())


def test_every_setting_is_documented() -> None:
    """docs/configuration.md has exactly the keys that the settings have."""
    documented: dict[str, set[str]] = {}
    section = ""
    for line in (REPOSITORY / "docs/configuration.md").read_text().splitlines():
        if heading := re.match(r"## `\[+([\w.]+)\]+`", line):
            section = heading[1]
        elif heading := re.match(r'### `kind = "(\w+)"`', line):
            section = f"destinations {heading[1]}"
        elif key := re.match(r"\| `(\w+)` \|", line):
            documented.setdefault(section, set()).add(key[1])
    sections: dict[str, Any] = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if name not in ("destinations", "peers")
    }
    for destination in (DicomDestination, MllpDestination, WebhookDestination):
        sections[f"destinations {destination.model_fields['kind'].annotation.__args__[0]}"] = destination
    sections |= {"query.subscribers": Subscriber, "peers": AllowedPeer}
    assert documented == {name: set(section.model_fields) for name, section in sections.items()}


def _commands(group: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= _commands(command, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = command
    return found


def test_every_command_and_flag_is_documented() -> None:
    """docs/cli.md names each command and each of its flags."""
    text = (REPOSITORY / "docs/cli.md").read_text()
    sections = dict(re.findall(r"## `ich-triage ([^`]+)`\n(.*?)(?=\n## |\Z)", text, re.DOTALL))
    commands = _commands(typer.main.get_command(app))
    assert sections.keys() == commands.keys()
    for name, command in commands.items():
        for parameter in command.params:
            for flag in parameter.opts if parameter.param_type_name == "option" else ():
                if flag.startswith("--") and flag not in ("--help", "--config"):
                    assert f"`{flag}`" in sections[name], f"{flag} of {name}"


@pytest.mark.parametrize(
    "module",
    [
        "ich_triage.intake.scp",
        "ich_triage.outputs.deliver",
        "ich_triage.worklist.document",
        "ich_triage.query.service",
    ],
)
def test_no_torch_where_a_scanner_or_a_reader_waits(module: str) -> None:
    """Receiver, deliveries and lists start without the model's libraries."""
    script = (
        f"import sys, {module}; "
        "print([name for name in ('torch', 'openvino', 'timm', 'torchvision') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_command_line_starts_without_torch() -> None:
    """`ich-triage worklist` must answer at once, whatever the model weighs."""
    script = "import sys, ich_triage.cli.app; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_the_conformance_statement_lists_what_is_accepted() -> None:
    """docs/conformance.md names each storage class and transfer syntax of the listener, no other."""
    text = (REPOSITORY / "docs/conformance.md").read_text()
    accepted = text.split("# What we send")[0]
    listed = set(re.findall(r"1\.2\.840\.10008[\d.]*\d", accepted))
    services = {"1.2.840.10008.1.1", "1.2.840.10008.1.20.1"}
    assert listed - services == {str(uid) for uid in (*STORAGE_CLASSES, *TRANSFER_SYNTAXES)}
