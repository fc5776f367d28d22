"""Where a call, and the key with it, is sent: parsed once, compared as a tuple.

A key is released only to origins that a holder of admin:secrets approved, so two spellings of one place must
compare equal and two places must never do. What cannot be read in exactly one way is refused instead of repaired.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_BRACKETED = re.compile(r"\[[^\[\]]+\](?::[0-9]+)?")
_PRINTABLE = re.compile(r"[!-~]+")
# A socket reaches the same server on the same port, so ws and wss are their http counterparts.
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
_DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_URL_LENGTH = 2048
MAX_HOST_LENGTH = 253  # RFC 1035, 2.3.4, in its usual spelling


class Origin(NamedTuple):
    """Scheme, host, port and base path of a server; equal when they are the same place."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read a URL such as `https://api.openai.com/v1`.

        Raises:
            ValueError: it can be read in more than one way, or is no http(s) or ws(s) address; the message says
                what would be valid and repeats nothing of the URL.
        """
        if len(url) > MAX_URL_LENGTH or not _PRINTABLE.fullmatch(url) or "\\" in url:
            msg = f"write an address of at most {MAX_URL_LENGTH} visible ASCII characters (xn-- for other alphabets)"
            raise ValueError(msg)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            msg = "write an address such as https://host/path, with a port from 1 to 65535 if any"
            raise ValueError(msg) from None
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            msg = "write an address that starts with https://"
            raise ValueError(msg)
        if "@" in parts.netloc or "?" in url or "#" in url:
            msg = "leave user names, queries and fragments out of the address"
            raise ValueError(msg)
        if port == 0 or parts.netloc.endswith(":"):
            msg = "write the port as a number from 1 to 65535, or leave it out"
            raise ValueError(msg)
        return cls(scheme, _host(parts.netloc, parts.hostname), port or _DEFAULT_PORTS[scheme], _path(parts.path))

    def __str__(self) -> str:
        """Write the origin in its one canonical spelling, port included."""
        return self._written(f":{self.port}")

    def _written(self, port: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def in_short(self) -> str:
        """The same as people write it: without the port that goes without saying."""
        return self._written("" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}")

    @property
    def is_loopback(self) -> bool:
        """Whether this is the worker's own machine, the only place where plain http is accepted."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def over_http(url: str) -> str:
    """Write a socket's address for a client that speaks http: it is the same server."""
    return re.sub("^ws", "http", url)


def _host(netloc: str, hostname: str | None) -> str:
    host = (hostname or "").lower()
    if "[" in netloc or "]" in netloc:
        # urlsplit takes the address out of the brackets and lets go of what stands around them.
        if not _BRACKETED.fullmatch(netloc):
            msg = "write an IPv6 address between brackets, and nothing but a port after them"
            raise ValueError(msg)
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            msg = "write an IPv6 address in full between brackets"
            raise ValueError(msg) from None
        if address.ipv4_mapped or "%" in host:
            msg = "write an IPv4 address in its usual form, and no zone"
            raise ValueError(msg)
        return address.compressed
    if not _HOST_NAME.fullmatch(host) or len(host) > MAX_HOST_LENGTH:
        msg = "write a host name of letters, digits, dots and hyphens, without a dot at its end"
        raise ValueError(msg)
    if _looks_numeric(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            msg = "write an IPv4 address as four decimal numbers"
            raise ValueError(msg) from None
    return host


def _looks_numeric(host: str) -> bool:
    """Whether a resolver would read the last label as a number, as in 0x7f.1 or 2130706433."""
    last = host.rsplit(".", 1)[-1]
    return last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last) is not None


def _path(path: str) -> str:
    if not _PATH.fullmatch(path) or any(set(part) == {"."} for part in path.split("/") if part):
        msg = "write a path of letters, digits and . _ ~ - between single slashes"
        raise ValueError(msg)
    return path.rstrip("/")
