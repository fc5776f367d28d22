"""What the servers are asked: the same of each, with bodies and answers of the same length."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import httpx

from load import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servers import OpenBao, Server, Tenant

CONNECTIONS = 16
TENANTS = 64
"""How many organizations, or paths, the load is spread over. Each belongs to one connection."""
VARIANTS = 8
"""How many different writes follow each other on one organization before they repeat; a round has its own."""
READS_GOAL = 2.0
WRITES_GOAL = 1.0

_PROVIDERS = "/api/organizations/current/providers"
_TIMESTAMP_BYTES = 9  # OpenBao writes nanoseconds, without zeros at the end

Requests = list[list[str]]


@dataclass(frozen=True)
class Workload:
    """One line of the table: what one server is asked."""

    name: str
    kind: Literal["read", "write", "bare"]
    server: Server
    requests: Callable[[int], Requests]
    """What each connection sends in the round of a given number; the warm-up is round 0."""
    goal: float | None = None
    """How many times as many requests per second as the peer's."""
    is_peer: bool = False


class VoxplaneWork:
    """What Voxplane is asked."""

    def __init__(self, server: Server, tenants: Sequence[Tenant]) -> None:
        self._server = server
        self._all = tenants
        self._tenants = tenants[:TENANTS]

    def workloads(self) -> list[Workload]:
        """Return the lines of the table."""
        one, primary = f"{_PROVIDERS}/openai", f"{_PROVIDERS}/llm/primary"
        # Who says what they hold is never answered from memory.
        anew = self._reads(one, 'If-None-Match: "none"')
        return [
            Workload("GET one provider", "read", self._server, self._reads(one), READS_GOAL),
            Workload("GET one provider, read from the database", "read", self._server, anew),
            Workload("GET primary", "read", self._server, self._reads(primary), READS_GOAL),
            Workload("PUT config", "write", self._server, self._writes, WRITES_GOAL),
        ]

    def _reads(self, path: str, *headers: str) -> Callable[[int], Requests]:
        requests = [
            [_request("GET", path, _bearer(tenant), *headers) for tenant in share] for share in _dealt(self._tenants)
        ]
        return lambda _round: requests

    def _writes(self, round_number: int) -> Requests:
        return [
            [
                _request("PUT", f"{_PROVIDERS}/openai/config", _bearer(tenant), body=_config_body(number))
                for number in _numbers_of(round_number)
                for tenant in share
            ]
            for share in _dealt(self._tenants)
        ]

    def answer_bytes(self) -> int:
        """Make a change and see that it is shown; return how long the answer to GET one provider is."""
        with self._client(self._tenants[0]) as client:
            headers = {"Content-Type": "application/json"}
            client.put(f"{_PROVIDERS}/openai/config", content=_config_body(), headers=headers).raise_for_status()
            answer = client.get(f"{_PROVIDERS}/openai").raise_for_status()
        shown = answer.json()
        if not (shown["usable"] and shown["isPrimary"] and shown["overrides"] == _settings()):
            raise SystemExit(f"This is not the answer that was to be measured: {shown}")
        return len(answer.content)

    def writes(self) -> int:
        """How many writes the organizations count, all together."""
        counted = 0
        for tenant in self._tenants:
            with self._client(tenant) as client:
                counted += client.get(_PROVIDERS).raise_for_status().json()["revision"]
        return counted

    def _client(self, tenant: Tenant) -> httpx.Client:
        headers = {"Authorization": f"Bearer {tenant.token}"}
        return httpx.Client(base_url=self._server.url, headers=headers, trust_env=False)

    def everything(self, count: int) -> Plan:
        """Many requests over all organizations: one kind of request goes round all of them, then the next kind."""
        keys, types = ("openai", "deepgram", "piper", "groq", "anthropic"), ("llm", "stt", "tts")
        kinds = [
            ("GET", "", ""),
            ("PUT", "/openai/config", _config_body()),
            *(("GET", f"/{key}", "") for key in keys),
            *(("GET", f"/{each}/primary", "") for each in types),
        ]
        times = [kinds[time % len(kinds)] for time in range(-(-count // len(self._all)))]
        connections = [
            [
                _request(method, f"{_PROVIDERS}{path}", _bearer(tenant), body=body)
                for method, path, body in times
                for tenant in share
            ]
            for share in _dealt(self._all)
        ]
        return Plan(self._server.host, self._server.port, connections, seconds=None)


class OpenBaoWork:
    """What OpenBao is asked."""

    def __init__(self, bao: OpenBao, *, answer_bytes: int) -> None:
        """Store what is read, so that answers have the given length."""
        self._bao = bao
        self._tenants = bao.tenants(TENANTS)
        for tenant in self._tenants:
            self._store(tenant, answer_bytes)

    def _store(self, tenant: Tenant, answer_bytes: int) -> None:
        path, filling = f"/kv/data/{tenant.name}/read", 0
        for _ in range(2):
            self._bao.ask("POST", path, {"data": {**_settings(), "filling": "x" * filling}})
            missing = answer_bytes - self._bao.answer_bytes(path)
            if abs(missing) < _TIMESTAMP_BYTES:
                return
            filling += missing
        raise SystemExit(f"OpenBao's answer cannot be made {answer_bytes} bytes long.")

    def workloads(self) -> list[Workload]:
        """Return the lines of the table."""
        reads = [
            [_request("GET", f"/v1/kv/data/{tenant.name}/read", _vault(tenant)) for tenant in share]
            for share in _dealt(self._tenants)
        ]
        return [
            Workload("OpenBao: KV v2 read", "read", self._bao.server, lambda _round: reads, is_peer=True),
            Workload("OpenBao: KV v2 write", "write", self._bao.server, self._writes, is_peer=True),
        ]

    def _writes(self, round_number: int) -> Requests:
        return [
            [
                _request("POST", f"/v1/kv/data/{tenant.name}/write", _vault(tenant), body=_kv_body(number))
                for number in _numbers_of(round_number)
                for tenant in share
            ]
            for share in _dealt(self._tenants)
        ]

    def writes(self) -> int:
        """How many writes the paths count, all together."""
        counted = 0
        for tenant in self._tenants:
            metadata = self._bao.ask(
                "GET", f"/kv/metadata/{tenant.name}/write", missing={"data": {"current_version": 0}}
            )
            counted += metadata["data"]["current_version"]
        return counted


def bare_workload(server: Server) -> Workload:
    """Return the line of the server that only answers."""
    requests = [[_request("GET", "/")]] * CONNECTIONS
    return Workload("Bare HTTP server: a constant", "bare", server, lambda _round: requests)


def _dealt(tenants: Sequence[Tenant]) -> list[Sequence[Tenant]]:
    """Deal tenants out to the connections, so that none is written to over two of them."""
    return [tenants[first::CONNECTIONS] for first in range(CONNECTIONS)]


def _numbers_of(round_number: int) -> range:
    """Return the numbers of the settings that a round writes to each tenant, one after the other."""
    first = 1 + round_number * VARIANTS
    return range(first, first + VARIANTS)


def _settings(number: int = 0) -> dict[str, object]:
    """Return an organization's settings; every number gives others of the same length."""
    return {"model": "gpt-4o-mini", "temperature": 0.9, "maxTokens": 1000 + number}


def _config_body(number: int = 0) -> str:
    return json.dumps({"config": _settings(number), "isEnabled": True, "priority": 100})


BODY_BYTES = len(_config_body())


def _kv_body(number: int) -> str:
    shorter = json.dumps({"data": {**_settings(number), "filling": ""}})
    return json.dumps({"data": {**_settings(number), "filling": "x" * (BODY_BYTES - len(shorter))}})


def _bearer(tenant: Tenant) -> str:
    return f"Authorization: Bearer {tenant.token}"


def _vault(tenant: Tenant) -> str:
    return f"X-Vault-Token: {tenant.token}"


def _request(method: str, path: str, *headers: str, body: str = "") -> str:
    """Write a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])
