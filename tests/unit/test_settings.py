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


def peers(*tables: str, before: str = "") -> str:
    """A file with these tables of peers."""
    return before + "".join(f'[[peers]]\nname = "ct1"\nae_title = "CT1"\n{table}\n' for table in tables)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[dicom]\nplain = false\n", "nothing is listened on"),
        ('[dicom]\ntls_key = "a.key"\n', "need tls_certificate"),
        ('[query]\ntls_client_ca = "ca.pem"\n', "need tls_certificate"),
        (peers('rights = ["delete"]'), "rights"),
        (peers(""), "rights: missing"),
        (peers('rights = []\naddresses = ["10.0.0.7/8"]'), "10.0.0.7/8 is neither an address nor a network"),
        (peers("rights = []", "rights = []"), "two peers have the same name"),
        (peers('rights = []\ncertificate_name = "ct1"'), "certificate_name of ct1 needs"),
        ('[web]\nhost = "0.0.0.0"\n', "can be reached from other machines, without TLS"),
        ('[web]\nhost = "0.0.0.0"\ntls_certificate = "a.pem"\n', "come together"),
        ('[worklist]\nviewer_url = "javascript:open()//{study_instance_uid}"\n', "starts with https"),
        ('[worklist]\nviewer_url = "https://viewer.example/?who={patient_name}"\n', "starts with https"),
        ('[query]\nhost = "0.0.0.0"\n', "anybody there could ask for patients"),
        (
            '[query]\nhost = "0.0.0.0"\ntls_certificate = "a.pem"\ntls_client_ca = "ca.pem"\n',
            "anybody there could ask for patients",
        ),
    ],
)
def test_doors_that_would_not_shut_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """What does not protect as it seems to is an error at the start, with the reason."""
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("", "127.0.0.1"),
        ('tls_certificate = "a.pem"\ntls_key = "a.key"\nhost = "0.0.0.0"\n', "0.0.0.0"),
        ('trusted_proxies = ["10.0.0.0/24"]\nhost = "0.0.0.0"\n', "0.0.0.0"),
    ],
)
def test_pages_leave_this_machine_with_tls_or_through_a_proxy(tmp_path: Path, text: str, host: str) -> None:
    """Until one of them is configured nobody else on the network is served."""
    path = tmp_path / "site.toml"
    path.write_text(f"[web]\n{text}")
    assert load(path).web.host == host


@pytest.mark.parametrize(
    "text",
    [
        peers('rights = ["query"]', before='[query]\nhost = "0.0.0.0"\n'),
        '[query]\nhost = "0.0.0.0"\nplain = false\ntls_certificate = "a.pem"\ntls_client_ca = "ca.pem"\n',
    ],
    ids=["a list of peers", "certificates alone"],
)
def test_patients_may_be_asked_for_by_who_is_known(tmp_path: Path, text: str) -> None:
    """On an address that others reach, either names who may ask, or certificates do."""
    path = tmp_path / "site.toml"
    path.write_text(text)
    assert load(path).query.host == "0.0.0.0"
