"""A certificate authority for one test, and certificates of it: for 127.0.0.1, and for peers by name."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files of one authority."""

    #: the authority's certificate, PEM
    authority: Path
    #: a certificate that it has signed, with its key, PEM
    signed: Path
    #: what it signs with
    key: ec.EllipticCurvePrivateKey

    def server(self, *, asks_for_one: bool = False) -> ssl.SSLContext:
        """A server's context with the signed certificate; `asks_for_one`: its clients need one too."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.load_cert_chain(self.signed)
        if asks_for_one:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def issue(self, name: str, *, address: str = "", expired: bool = False) -> Path:
        """Another certificate with its key, PEM: with common name `name`, for `address` if there is one."""
        key = ec.generate_private_key(ec.SECP256R1())
        age = timedelta(days=2) if expired else timedelta(minutes=1)
        path = self.authority.parent / f"{name}.pem"
        certificate = _certificate(name, key, "authority", self.key, address=address, age=age)
        path.write_bytes(_private(key) + certificate)
        return path


def make_certificates(folder: Path) -> Certificates:
    """Make an authority in `folder`, and its certificate for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = folder / "authority.pem"
    authority.write_bytes(_certificate("authority", key, "authority", key))
    ours = Certificates(authority=authority, signed=folder / "signed.pem", key=key)
    ours.issue("signed", address="127.0.0.1")
    return ours


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    address: str = "",
    age: timedelta = timedelta(minutes=1),
) -> bytes:
    """Valid for a day from so long ago."""
    begin = datetime.now(UTC) - age
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
    )
    if name == issuer:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
