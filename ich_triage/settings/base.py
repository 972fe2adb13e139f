"""What the sections of the configuration share."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen; an unknown key is an error. Errors never quote what was given: it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def secret_of(path: Path) -> str:
    """The secret that a file holds, without the line's end. Raises ValueError that names the file alone."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{path} cannot be read: mend it, or the key that names it") from None
    if not secret:
        raise ValueError(f"{path} is empty: it is to hold the secret alone")
    return secret


def check_ae_title(value: str) -> str:
    """PS3.5 Table 6.2-1, VR AE: 16 characters of the default repertoire, no backslash or control."""
    title = value.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def check_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    """Each is an address or a network, its host bits 0."""
    for each in value:
        try:
            ip_network(each)
        except ValueError:
            raise ValueError(f"{each} is neither an address nor a network (10.0.0.7, 10.0.0.0/24)") from None
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_among(host: str, networks: Sequence[str]) -> bool:
    """Whether `host`, an address, is one of these or within one of them."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in ip_network(each) for each in networks)
