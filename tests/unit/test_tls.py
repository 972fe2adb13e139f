"""Certificates and keys that cannot be used are named, whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from ich_triage.errors import DeliveryError
from ich_triage.tls import client_context
from tests.certificates import make_certificates


def test_certificate_and_key_may_be_in_one_file(tmp_path: Path) -> None:
    """The context checks certificates and host names."""
    ours = make_certificates(tmp_path)
    context = client_context(ca_file=ours.authority, certificate_file=ours.signed)
    assert context.check_hostname and context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, or something else: the error says which file."""
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeliveryError, match=r"ca_file .*authority\.pem holds no certificates"):
        client_context(ca_file=path)


def test_a_locked_key_is_named_and_asks_nobody(tmp_path: Path) -> None:
    """OpenSSL would ask for its password on the terminal of the service."""
    ours = make_certificates(tmp_path)
    key = serialization.load_pem_private_key(ours.signed.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(DeliveryError, match=r"key\.pem hold no certificate with its key, unencrypted"):
        client_context(ca_file=ours.authority, certificate_file=ours.signed, key_file=tmp_path / "key.pem")
