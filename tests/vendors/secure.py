"""Vendors on loopback over TLS, under their own names: what a test of a key meets, in good days and bad.

One server answers for all hosts; which vendor is asked shows in the Host header. Its certificates are signed by an
authority of its own, in `ca_file`; `resolve` leads every name to it. That its good answers are the vendors' own is
shown by the vendors' SDKs, in tests/test_verification_vendors.py.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = (
    "api.deepgram.com",
    "api.elevenlabs.io",
    "api.cartesia.ai",
    "api.openai.com",
    "api.groq.com",
    "generativelanguage.googleapis.com",
    "api.anthropic.com",
    "acme.openai.azure.com",
    "gateway.example.com",
)


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes = b""

    @property
    def host(self) -> str:
        """The name that was asked for."""
        return self.headers["host"].partition(":")[0]


@dataclass
class Reply:
    """What is answered: whole, in pieces, or not at all."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    fault: str | None = None
    """`hang` after reading the request, `reset` the connection, `endless` in the body, or `slow` in it."""


class SecureVendor:
    """A TLS server on loopback that answers as `answer` says. Use it as an asynchronous context manager."""

    def __init__(self, answer: Callable[[Asked], Reply], *, hosts: Sequence[str] = HOSTS) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.bytes_seen = b""
        self.look_up_error: int | None = None
        """What looking up a name fails with, such as `socket.EAI_NONAME`."""
        self._folder = tempfile.TemporaryDirectory(prefix="voxplane-ca-")
        folder = Path(self._folder.name)
        self.ca_file, self._chain = folder / "ca.pem", folder / "chain.pem"
        _make_certificates(self.ca_file, self._chain, hosts)
        self._leaving = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.url = ""
        """Where vendors' SDKs find it without TLS: each vendor below its own name."""

    async def __aenter__(self) -> Self:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._chain)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self._plain = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._plain.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._server.close()
        self._plain.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._folder.cleanup()

    def say(self, reply: Reply) -> None:
        """Answer this, whatever is asked."""

        def answer(_asked: Asked) -> Reply:
            return reply

        self.answer = answer

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """Lead every name here."""
        del host, port
        if self.look_up_error is not None:
            raise socket.gaierror(self.look_up_error, "as told")
        return [("127.0.0.1", self.port)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            return  # the other side left, as it may, or this one leaves
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.bytes_seen += head
        lines = head.decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path.split("/")[1] in HOSTS:
            _, headers["host"], path = path.split("/", 2)
            path = f"/{path}"
        asked = Asked(method, path, headers, body)
        self.asked.append(asked)
        reply = self.answer(asked)
        if reply.fault == "reset":
            # Without lingering the other side sees a reset, not an orderly end.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if reply.fault == "reset":
            return
        if reply.fault == "hang":
            await self._leaving.wait()
        length = {} if reply.fault in {"endless", "slow"} else {"Content-Length": str(len(reply.body))}
        shown = {"Content-Type": "application/json", **length, **reply.headers, "Connection": "close"}
        writer.write(f"HTTP/1.1 {reply.status} Said\r\n".encode())
        writer.write("".join(f"{name}: {value}\r\n" for name, value in shown.items()).encode() + b"\r\n")
        writer.write(reply.body)
        await writer.drain()
        while reply.fault == "endless":
            writer.write(reply.body)
            await writer.drain()
        if reply.fault == "slow":
            await self._leaving.wait()
        writer.close()
        await writer.wait_closed()


def _make_certificates(ca_file: Path, chain: Path, hosts: Sequence[str]) -> None:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    now = datetime.now(UTC)

    def builder(subject: x509.Name) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    ca = (
        builder(ca_name)
        .public_key(ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor")]))
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + leaf.public_bytes(pem))
