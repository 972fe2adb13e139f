"""Destinations in the configuration: old files stay valid, unsafe ones are refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from ich_triage.errors import SettingsError
from ich_triage.settings import DicomDestination, MllpDestination, WebhookDestination, load

MLLP = 'kind = "mllp"\nname = "his"\nhost = "h"\nport = 2575\n'
WEBHOOK = 'kind = "webhook"\nname = "desk"\n'


def loaded(tmp_path: Path, *tables: str) -> tuple[object, ...]:
    """The destinations of a file with these tables."""
    path = tmp_path / "site.toml"
    path.write_text("\n".join(f"[[destinations]]\n{table}" for table in tables))
    return load(path).destinations


def test_each_kind_has_its_own_keys(tmp_path: Path) -> None:
    """A table without a kind is a PACS, as before there were others."""
    pacs = 'name = "pacs"\nhost = "h"\nport = 104\nae_title = "PACS"\n'
    hook = WEBHOOK + 'url = "https://desk.example/hook"\n'
    found = loaded(tmp_path, pacs, MLLP, hook)
    assert [type(each) for each in found] == [DicomDestination, MllpDestination, WebhookDestination]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (MLLP.replace("mllp", "smtp"), "kind is none of dicom, mllp, webhook"),
        (MLLP + 'ae_title = "PACS"\n', "mllp.ae_title: unknown key"),
        (MLLP + 'encoding = "KLINGON"\n', "mllp.encoding"),
        (MLLP + 'ca_file = "ca.pem"\n', "need tls = true"),
        (MLLP + 'tls = true\nkey_file = "key.pem"\n', "key_file needs certificate_file"),
        (WEBHOOK + 'url = "http://desk.example/hook"\n', "allow_plain_http"),
        (WEBHOOK + 'url = "http://127.0.0.1.desk.example/hook"\n', "allow_plain_http"),
        (WEBHOOK + 'url = "https://me:secret@desk.example/hook"\n', "user name or password"),
        (WEBHOOK + 'url = "ftp://desk.example/hook"\n', "not of the form"),
        (WEBHOOK + 'url = "https:///hook"\n', "not of the form"),
        (WEBHOOK + 'url = "https://desk.example:99999/hook"\n', "webhook"),
        (WEBHOOK + 'url = "https://desk.example/"\nsecret = "whsec_eA=="\n', "webhook.secret: unknown key"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, table: str, said: str) -> None:
    """The error names the key and what is wrong with it."""
    with pytest.raises(SettingsError, match=said):
        loaded(tmp_path, table)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80/x", "http://[::1]/x", "http://localhost/x", "https://desk.example"]
)
def test_this_machine_may_be_reached_in_clear(tmp_path: Path, url: str) -> None:
    """Plain http does not leave the machine there."""
    assert loaded(tmp_path, WEBHOOK + f'url = "{url}"\n')
