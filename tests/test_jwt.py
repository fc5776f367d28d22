"""JWTs: what forgers have tried elsewhere, and where the keys come from. Only the identity provider is played."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.conftest import amounts
from tests.test_door import clients
from voxplane.errors import ConfigurationError, Unauthenticated
from voxplane.schemas import JsonObject
from voxplane.server.access import AccessService
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.issuers import Issuers
from voxplane.server.settings import Issuer

ISSUER = "https://idp.example"
JWKS = "https://idp.example/keys"
AUDIENCE = "voxplane"
ALGORITHMS = ("ES256", "EdDSA", "RS256")
Sign = Callable[[bytes], bytes]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """A key pair of an identity provider, with the two forms in which its public half gets about."""

    def __init__(self, algorithm: str, kid: str = "one") -> None:
        """Make a new one."""
        self.algorithm = algorithm
        self.kid = kid
        self.key: Any = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
        }[algorithm]()
        self._algorithm = jwt.get_algorithm_by_name(algorithm)
        self.pem: bytes = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.der: bytes = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.jwk: JsonObject = {
            **self._algorithm.to_jwk(self.key.public_key(), as_dict=True),
            "kid": kid,
            "use": "sig",
            "alg": algorithm,
        }

    def sign(self, data: bytes, algorithm: str | None = None) -> bytes:
        """Sign with this key, as its own algorithm or as another of the same kind of key."""
        return jwt.get_algorithm_by_name(algorithm or self.algorithm).sign(data, self.key)

    @property
    def header(self) -> JsonObject:
        """The header of a genuine token."""
        return {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}

    def token(self, claims: JsonObject, **header: object) -> str:
        """Make a token as the identity provider would."""
        return compact(self.header | header, claims, self.sign)


@pytest.fixture(scope="module")
def signers() -> dict[str, Signer]:
    return {algorithm: Signer(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def strangers() -> dict[str, Signer]:
    """Keys that the identity provider does not have, under the id of one that it has."""
    return {algorithm: Signer(algorithm) for algorithm in ALGORITHMS}


def compact(header: JsonObject | bytes, claims: JsonObject | bytes, sign: Sign) -> str:
    parts = [b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims)]
    signed = ".".join(parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


def mac(secret: bytes, algorithm: str) -> Sign:
    """Sign with a shared secret, as no issuer of ours does."""
    return lambda data: hmac.digest(secret, data, f"sha{algorithm.removeprefix('HS')}")


def claims_for(organization_id: object, **changed: object) -> JsonObject:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": now,
        "exp": now + 600,
        "org_id": str(organization_id),
        "scope": "livekit:read livekit:write",
    } | changed


class Forger:
    """Makes tokens that are almost right, from what everybody can know and from what an insider could have signed."""

    def __init__(self, signer: Signer, stranger: Signer, others: list[Signer], organization_id: object) -> None:
        """Know the public key, have a key of one's own, the keys of other issuers, and a real organization."""
        self._signer = signer
        self._stranger = stranger
        self._others = others
        self._claims = claims_for(organization_id)
        self._genuine = signer.token(self._claims)

    def forms(self) -> dict[str, str]:
        """Return every forgery by what it is."""
        forms: dict[str, str] = {}
        makers = (self._algorithms, self._secrets, self._signatures, self._shapes, self._headers, self._claims_forms)
        for name, token in (form for make in makers for form in make()):
            assert name not in forms
            assert token != self._genuine
            forms[name] = token
        return forms

    def _signed(self, claims: JsonObject | bytes, **header: object) -> str:
        return compact(self._signer.header | header, claims, self._signer.sign)

    def _algorithms(self) -> Iterator[tuple[str, str]]:
        claims, genuine = self._claims, self._genuine.rpartition(".")[2]
        for alg in ("none", "None", "NONE", "nOnE", "", " none", "none\0"):
            yield f"alg {alg!r} without a signature", compact({"alg": alg, "typ": "JWT"}, claims, lambda _: b"")
            unsigned = compact(self._signer.header | {"alg": alg}, claims, lambda _: b"")
            yield f"alg {alg!r} with another's signature", unsigned + genuine
        algorithm = self._signer.algorithm
        wrong: tuple[Any, ...] = (
            algorithm.lower(),
            [algorithm],
            {},
            None,
            1,
            True,
            f"{algorithm} ",
            "ES512",
            "PS384",
            "",
        )
        for alg in wrong:
            yield f"alg {alg!r}, signed rightly", self._signed(claims, alg=alg)
        header = {name: value for name, value in self._signer.header.items() if name != "alg"}
        yield "no alg", compact(header, claims, self._signer.sign)
        if algorithm == "RS256":
            for other in ("RS512", "PS256"):
                sign = partial(self._signer.sign, algorithm=other)
                yield f"signed as {other}", compact(self._signer.header | {"alg": other}, claims, sign)
        for number, other in enumerate(self._others):
            yield f"the key of issuer {number}", compact(other.header, claims, other.sign)
            renamed = self._signer.header | {"kid": other.kid}
            yield f"the key of issuer {number}, renamed", compact(renamed, claims, other.sign)

    def _secrets(self) -> Iterator[tuple[str, str]]:
        """Try the public key, in all its spellings, as the secret of an HMAC."""
        spellings = {
            "the PEM": self._signer.pem,
            "the PEM in one line": self._signer.pem.replace(b"\n", b""),
            "the PEM without its last line break": self._signer.pem.rstrip(),
            "the DER": self._signer.der,
            "the JWK": json.dumps(self._signer.jwk).encode(),
            "the bare JWK": json.dumps(self._signer.jwk, separators=(",", ":")).encode(),
            "nothing": b"",
            "the key's id": self._signer.kid.encode(),
        }
        for name, secret in spellings.items():
            for alg in ("HS256", "HS512"):
                yield f"{alg} with {name}", compact(self._signer.header | {"alg": alg}, self._claims, mac(secret, alg))
        for kid in (
            "../../../../dev/null",
            "/dev/null",
            "' UNION SELECT '",
            "one\0",
            "one ",
            "",
            "http://evil.example/key",
        ):
            yield (
                f"HS256 with nothing and kid {kid!r}",
                compact({"alg": "HS256", "kid": kid}, self._claims, mac(b"", "HS256")),
            )

    def _signatures(self) -> Iterator[tuple[str, str]]:
        head, _, signature = self._genuine.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        yield "no signature", f"{head}."
        yield "a key of their own", compact(self._signer.header, self._claims, self._stranger.sign)
        yield (
            "another payload's signature",
            self._signed(self._claims | {"sub": "eve"}).rpartition(".")[0] + f".{signature}",
        )
        changed = {
            "cut": raw[:-1],
            "half": raw[: len(raw) // 2],
            "one bit off": bytes([raw[0] ^ 1]) + raw[1:],
            "zero": bytes(len(raw)),
            "zero and short": b"\0",
            "ones": b"\xff" * len(raw),
            "longer": raw + b"\0",
            "twice": raw + raw,
            "in DER": encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")),
        }
        for name, wrong in changed.items():
            yield f"a signature {name}", f"{head}.{b64(wrong)}"
        spelled = {
            "with padding": signature + "=" * (-len(signature) % 4 or 4),
            "with a stray character": signature[:10] + "!" + signature[10:],
            "with a line break": signature[:10] + "\n" + signature[10:],
            "with a space inside": signature[:10] + " " + signature[10:],
            "with stray bits": signature[:-1] + chr(ord(signature[-1]) + 1),
            "with a null": signature + "\0",
        }
        for name, wrong in spelled.items():
            yield f"a signature {name}", f"{head}.{wrong}"

    def _shapes(self) -> Iterator[tuple[str, str]]:
        header, claims, signature = self._genuine.split(".")
        yield "two parts", f"{header}.{claims}"
        yield "one part", header
        yield "four parts", f"{self._genuine}.{signature}"
        yield "five parts", f"{header}..{claims}..{signature}"
        yield "a dot before", f".{self._genuine}"
        yield "a dot behind", f"{self._genuine}."
        yield "only dots", ".."
        yield "no header", f".{claims}.{signature}"
        yield "no claims", f"{header}..{signature}"
        yield "padded header", f"{header}{'=' * (-len(header) % 4 or 4)}.{claims}.{signature}"
        yield "padded claims", f"{header}.{claims}{'=' * (-len(claims) % 4 or 4)}.{signature}"
        yield "JSON serialization", json.dumps({"payload": claims, "protected": header, "signature": signature})
        yield "nested", self._signed(self._genuine.encode(), cty="JWT")
        yield "nested without a word", self._signed(self._genuine.encode())
        yield "too long", self._signed(self._claims | {"more": "x" * 8192})
        yield "other letters", self._genuine.translate(str.maketrans("AB", "\u0410\u0412"))
        for name, text in {
            "an array": b"[]",
            "a string": b'"a"',
            "null": b"null",
            "no JSON": b"alg",
            "empty": b"",
        }.items():
            yield f"header is {name}", compact(text, self._claims, self._signer.sign)
            yield f"claims are {name}", self._signed(text)

    def _headers(self) -> Iterator[tuple[str, str]]:
        jwk = {name: value for name, value in self._stranger.jwk.items() if name != "kid"}
        added = {
            "crit": ["exp"],
            "crit of nothing": [],
            "crit of b64": ["b64"],
            "b64": False,
            "jku": "https://evil.example/keys",
            "jwk": jwk,
            "x5u": "https://evil.example/chain",
            "x5c": [base64.b64encode(self._stranger.der).decode()],
            "x5t": "AAAA",
            "x5t#S256": "AAAA",
            "zip": "DEF",
            "cty": "JWT",
            "enc": "A128GCM",
            "epk": jwk,
            "iss": ISSUER,
            "": "",
        }
        for name, value in added.items():
            field = name.split(" ")[0]
            yield f"header {name}", self._signed(self._claims, **{field: value})
            own = compact(self._signer.header | {field: value}, self._claims, self._stranger.sign)
            yield f"header {name} for a key of their own", own
        kids: tuple[Any, ...] = ("unknown", "k" * 129, 1, True, [], {}, ["one"], None, "One", "one\n", "\ud800")
        for kid in kids:
            yield f"kid {kid!r}", self._signed(self._claims, kid=kid)
        types: tuple[Any, ...] = ("JWS", "JOSE", "application/json", "dpop+jwt", "", 1, [], ["JWT"], {}, True)
        for typ in types:
            yield f"typ {typ!r}", self._signed(self._claims, typ=typ)
        right = json.dumps(self._signer.header)
        yield "alg twice", compact(f'{{"alg": "none", {right[1:]}'.encode(), self._claims, self._signer.sign)
        yield "kid twice", compact(f'{right[:-1]}, "kid": "two"}}'.encode(), self._claims, self._signer.sign)
        yield "header with a mark before", compact(b"\xef\xbb\xbf" + right.encode(), self._claims, self._signer.sign)
        yield "header with more behind", compact(right.encode() + b"{}", self._claims, self._signer.sign)
        yield "header in UTF-16", compact(right.encode("utf-16"), self._claims, self._signer.sign)

    def _claims_forms(self) -> Iterator[tuple[str, str]]:
        now = int(time.time())
        for name in ("iss", "aud", "sub", "iat", "exp", "org_id"):
            yield f"without {name}", self._signed({key: value for key, value in self._claims.items() if key != name})
            empty: tuple[Any, ...] = (None, True, False, {}, [])
            for value in empty:
                yield f"{name} {value!r}", self._signed(self._claims | {name: value})
        wrong: dict[str, tuple[Any, ...]] = {
            "iss": (f"{ISSUER}/", ISSUER.upper(), "", 1, [ISSUER], {ISSUER: 1}, "https://evil.example"),
            "aud": ("other", "", AUDIENCE.upper(), f"{AUDIENCE} ", ["other"], [AUDIENCE, 1], [[AUDIENCE]], 1),
            "sub": ("", 1, ["ada"], "\0", "\ud800", "s" * 256),
            "exp": (now - 31, 0, -1, str(now + 600), "never", 10**30, 2**63, [now + 600], now + 25 * 3600),
            "iat": (now + 90, str(now), "now", [now], -(10**30), 0, now - 25 * 3600),
            "nbf": (now + 90, "now", [now], {}, 10**30),
            "org_id": ("default", "", 1, [str(uuid4())], str(uuid4()), "00000000-0000-0000-0000-000000000000", "*"),
            "scope": (1, True, {"livekit:read": True}),
            "permissions": (1, {}, None, False),
            "jti": (1, [], {}),
        }
        for name, values in wrong.items():
            for value in values:
                yield f"{name} {str(value)[:50]!r} {type(value).__name__}", self._signed(self._claims | {name: value})
        right = json.dumps(self._claims)
        for name in ("exp", "iat", "nbf"):
            for number in ("NaN", "Infinity", "-Infinity", "1e400", "9" * 400):
                text = f'{right[:-1]}, "{name}": {number}}}'.replace(f'"{name}": {self._claims.get(name)}, ', "")
                yield f"{name} {number[:12]}", self._signed(text.encode())
        yield "sub twice", self._signed(f'{right[:-1]}, "sub": "eve"}}'.encode())
        yield "org_id twice", self._signed(f'{{"org_id": "{uuid4()}", {right[1:]}'.encode())
        yield "claims with more behind", self._signed(right.encode() + b"{}")
        yield "claims with a null behind", self._signed(right.encode() + b"\0")
        yield "claims with a mark before", self._signed(b"\xef\xbb\xbf" + right.encode())
        yield "claims in UTF-16", self._signed(right.encode("utf-16"))
        yield "claims in Latin-1", self._signed(right.replace("ada", "ad\u00e4").encode("latin-1"))
        yield "deep claims", self._signed(f'{right[:-1]}, "deep": {"[" * 2000}{"]" * 2000}}}'.encode())


@dataclass
class IdentityProvider:
    """The other side: answers with its key set, or as badly as a test tells it to; counts who asks."""

    answer: Callable[[], httpx.Response]
    asked: int = 0

    def transport(self) -> httpx.MockTransport:
        """Return what stands for the network to it."""

        def handle(request: httpx.Request) -> httpx.Response:
            assert str(request.url) == JWKS
            self.asked += 1
            return self.answer()

        return httpx.MockTransport(handle)


def key_set(*signers: Signer, **more: object) -> Callable[[], httpx.Response]:
    document = {"keys": [signer.jwk for signer in signers], **more}
    return lambda: httpx.Response(200, json=document)


def trusted(algorithm: str, **changed: object) -> Issuer:
    given: JsonObject = {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": algorithm, "jwks_url": JWKS}
    return Issuer.model_validate(given | changed)


def access_of(plane: ControlPlane, issuers: Issuers, **changed: object) -> AccessService:
    """Let in by these issuers instead of those of the settings, so that their keys come from where a test says."""
    return AccessService(
        database=plane.database,
        issuers=issuers,
        changes=plane.changes,
        unsealed=None,
        settings=plane.settings.model_copy(update=changed),
    )


@asynccontextmanager
async def served_by(plane: ControlPlane, issuers: Issuers) -> AsyncGenerator[httpx.AsyncClient]:
    async with clients(replace(plane, access=access_of(plane, issuers))) as client:
        yield client


async def ask(client: httpx.AsyncClient, token: str) -> httpx.Response:
    # As bytes: not every forgery is ASCII.
    return await client.get("/api/me", headers={b"Authorization": b"Bearer " + token.encode("utf-8", "surrogatepass")})


# With one key that has no name, what a token calls it decides nothing.
NAMES_ALONE = {"kid 'unknown'", "kid 'One'", "kid 'one\\n'"}


@pytest.mark.drill
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("source", ["jwks_url", "public_key"])
async def test_no_forgery_is_let_in(
    algorithm: str, source: str, plane: ControlPlane, signers: dict[str, Signer], strangers: dict[str, Signer]
) -> None:
    signer = signers[algorithm]
    organization_id = (await plane.access.find_organization("default")).id
    others = [Signer("ES256", "two"), *(each for each in signers.values() if each is not signer)]
    forms = Forger(signer, strangers[algorithm], others, organization_id).forms()
    issuer = trusted(algorithm)
    if source == "public_key":
        issuer = trusted(algorithm, jwks_url=None, public_key=signer.pem.decode())
        forms = {name: token for name, token in forms.items() if name not in NAMES_ALONE}
    provider = IdentityProvider(key_set(signer, Signer(algorithm, "spare")))
    async with served_by(plane, Issuers((issuer,), transport=provider.transport())) as client:
        genuine = await ask(client, signer.token(claims_for(organization_id)))
        assert genuine.status_code == 200
        assert genuine.json()["scopes"] == ["livekit:read", "livekit:write"]
        let_in = {name: answer.text for name in forms if (answer := await ask(client, forms[name])).status_code != 401}
    assert let_in == {}
    assert len(forms) >= 200


def test_the_forms_are_right_but_for_the_one_thing(signers: dict[str, Signer], strangers: dict[str, Signer]) -> None:
    """A forgery that were wrong in a second way would be refused for that one, and prove nothing."""
    signer = signers["ES256"]
    forms = Forger(signer, strangers["ES256"], [], uuid4()).forms()
    genuine = {name for name, token in forms.items() if _is_signed_by(signer, token)}
    # What is wrong with a header or a claim stands in a token that the right key signed.
    assert len([name for name in genuine if name.startswith(("header", "typ", "kid"))]) > 30
    assert len([name for name in genuine if name.startswith(("iss", "aud", "sub", "exp", "iat", "org_id", "nbf"))]) > 50


def _is_signed_by(signer: Signer, token: str) -> bool:
    signed, _, signature = token.rpartition(".")
    algorithm = jwt.get_algorithm_by_name(signer.algorithm)
    try:
        return algorithm.verify(signed.encode(), signer.key.public_key(), base64.urlsafe_b64decode(signature + "=="))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": " ".join(Scope)}, sorted(ADMINISTRATOR_SCOPES)),
        ({"scope": None, "permissions": list(Scope)}, sorted(ADMINISTRATOR_SCOPES)),
        ({"permissions": ["audit:read"]}, ["audit:read"]),
        ({"permissions": "audit:read livekit:read"}, ["audit:read", "livekit:read"]),
        ({"permissions": [["livekit:read"], {"a": 1}, 1, None, "livekit:read "]}, []),
        ({"scope": "openid profile livekit:read"}, ["livekit:read"]),
        ({"scope": "livekit:* livekit: livekit LIVEKIT:READ livekit:readx livekit:read,livekit:write *"}, []),
        ({"scope": "livekit:read\tlivekit:write"}, []),
        ({"scope": ""}, []),
        ({"scope": "worker:resolve admin:organizations"}, []),
    ],
)
async def test_a_token_has_exactly_the_scopes_that_it_spells_out(
    claims: JsonObject, scopes: list[str], plane: ControlPlane, signers: dict[str, Signer]
) -> None:
    signer, organization = signers["ES256"], await plane.access.find_organization("default")
    issuer = trusted("ES256", jwks_url=None, public_key=signer.pem.decode())
    stated = {name: value for name, value in (claims_for(organization.id) | claims).items() if value is not None}
    async with served_by(plane, Issuers((issuer,))) as client:
        answer = (await ask(client, signer.token(stated))).json()
    assert answer["scopes"] == scopes
    assert answer["organization"]["id"] == str(organization.id)
    assert (answer["kind"], answer["name"]) == ("jwt", "ada")


async def test_clocks_may_differ_by_half_a_minute_and_a_token_may_live_for_a_day(
    plane: ControlPlane, signers: dict[str, Signer]
) -> None:
    signer, now = signers["EdDSA"], int(time.time())
    organization_id = (await plane.access.find_organization("default")).id
    issuer = trusted("EdDSA", jwks_url=None, public_key=signer.pem.decode())
    good: tuple[JsonObject, ...] = (
        {"exp": now - 20},
        {"iat": now + 20},
        {"nbf": now + 20},
        {"nbf": now - 600},
        {"exp": now + 24 * 3600},
        {"exp": now + 600.5, "iat": now - 0.5},
        {"aud": ["somebody", AUDIENCE]},
        {"sub": "s" * 255},
    )
    async with served_by(plane, Issuers((issuer,))) as client:
        for changed in good:
            answer = await ask(client, signer.token(claims_for(organization_id, **changed)))
            assert (changed, answer.status_code) == (changed, 200)
        for header in ({"typ": "at+jwt"}, {"typ": None}):
            assert (await ask(client, signer.token(claims_for(organization_id), **header))).status_code == 200


async def test_two_issuers_with_one_subject_are_two_people(plane: ControlPlane, signers: dict[str, Signer]) -> None:
    organization_id = (await plane.access.find_organization("default")).id
    names = {f"https://{number}.example": signer for number, signer in enumerate(signers.values())}
    issuers = tuple(
        trusted(signer.algorithm, issuer=name, jwks_url=None, public_key=signer.pem.decode())
        for name, signer in names.items()
    )
    async with served_by(plane, Issuers(issuers)) as client:
        subjects = {
            (await ask(client, signer.token(claims_for(organization_id, iss=name)))).json()["subject"]
            for name, signer in names.items()
        }
        for name, signer in names.items():
            for other in set(names) - {name}:
                crossed = signer.token(claims_for(organization_id, iss=other))
                assert (await ask(client, crossed)).status_code == 401
    assert len(subjects) == 3


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        """Begin somewhere, as a monotonic clock does."""
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


async def is_let_in(issuers: Issuers, token: Signer | str) -> bool:
    try:
        await issuers.authenticate(token if isinstance(token, str) else token.token(claims_for(uuid4())))
    except Unauthenticated:
        return False
    return True


async def test_unknown_keys_are_asked_for_once_a_minute_at_most(signers: dict[str, Signer]) -> None:
    signer, clock = signers["EdDSA"], Clock()
    provider = IdentityProvider(key_set(signer))
    issuers = Issuers((trusted("EdDSA"),), transport=provider.transport(), clock=clock)
    assert await is_let_in(issuers, signer)
    assert provider.asked == 1
    claims = claims_for(uuid4())
    for number in range(10_000):
        clock.now += 0.05
        # The header alone decides which key is wanted; the signature is never looked at.
        with pytest.raises(Unauthenticated):
            await issuers.authenticate(
                compact(signer.header | {"kid": f"unknown {number}"}, claims, lambda _: b"x" * 64)
            )
    assert provider.asked == 1 + 10_000 * 0.05 // 60
    assert await is_let_in(issuers, signer)


async def test_a_new_key_is_found_and_a_withdrawn_one_no_longer_taken(signers: dict[str, Signer]) -> None:
    old, new, clock = signers["ES256"], Signer("ES256", "two"), Clock()
    provider = IdentityProvider(key_set(old))
    issuers = Issuers((trusted("ES256"),), transport=provider.transport(), clock=clock)
    assert await is_let_in(issuers, old)
    provider.answer = key_set(old, new)
    clock.now += 61
    assert await is_let_in(issuers, new)
    assert await is_let_in(issuers, old)
    assert provider.asked == 2
    provider.answer = key_set(new)
    clock.now += 601
    assert not await is_let_in(issuers, old)
    assert await is_let_in(issuers, new)
    assert provider.asked == 3


def _fails() -> httpx.Response:
    raise httpx.ConnectError("no route")


def _drips() -> httpx.Response:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await anyio.sleep(0.01)

    return httpx.Response(200, content=forever())


def _floods() -> httpx.Response:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    return httpx.Response(200, content=forever())


BAD_ANSWERS: dict[str, Callable[[], httpx.Response]] = {
    "no connection": _fails,
    "an error": lambda: httpx.Response(500, json={"keys": []}),
    "not found": lambda: httpx.Response(404),
    "a redirect": lambda: httpx.Response(302, headers={"Location": "https://evil.example/keys"}),
    "a redirect to itself": lambda: httpx.Response(301, headers={"Location": JWKS}),
    "a page": lambda: httpx.Response(200, html="<html>Sign in</html>"),
    "nothing": lambda: httpx.Response(200),
    "an array": lambda: httpx.Response(200, json=[]),
    "an error in JSON": lambda: httpx.Response(200, json={"error": "try later"}),
    "keys of another kind": lambda: httpx.Response(200, json={"keys": {"one": {}}}),
    "keys of null": lambda: httpx.Response(200, json={"keys": None}),
    "deep JSON": lambda: httpx.Response(200, content=b"[" * 100_000),
    "no UTF-8": lambda: httpx.Response(200, content=b'{"keys": ["\xff"]}'),
    "more than a megabyte": lambda: httpx.Response(200, json={"keys": [], "more": "x" * 1024 * 1024}),
    "no end": _floods,
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_while_the_provider_is_away_its_last_keys_serve_for_a_day(
    answer: Callable[[], httpx.Response], signers: dict[str, Signer]
) -> None:
    signer, clock = signers["RS256"], Clock()
    provider = IdentityProvider(key_set(signer))
    issuers = Issuers((trusted("RS256"),), transport=provider.transport(), clock=clock)
    assert await is_let_in(issuers, signer)
    provider.answer = answer
    for hours in range(24):
        clock.now += 3599
        assert await is_let_in(issuers, signer), hours
    assert provider.asked == 25
    clock.now += 3600
    assert not await is_let_in(issuers, signer)
    provider.answer = key_set(signer)
    clock.now += 61
    assert await is_let_in(issuers, signer)


async def test_a_provider_that_answers_without_end_is_not_waited_for(
    signers: dict[str, Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.server.issuers._TIMEOUT_SECONDS", 0.2)
    provider = IdentityProvider(_drips)
    issuers = Issuers((trusted("EdDSA"),), transport=provider.transport())
    with anyio.fail_after(10):
        assert not await is_let_in(issuers, signers["EdDSA"])
    assert provider.asked == 1


async def test_a_key_set_is_read_for_the_keys_that_fit_and_no_others(signers: dict[str, Signer]) -> None:
    signer = signers["ES256"]
    private = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(signer.key))
    misfits: dict[str, object] = {
        "for encryption": signer.jwk | {"use": "enc"},
        "of another algorithm": signer.jwk | {"alg": "ES384"},
        "of another curve": Signer("ES384").jwk | {"alg": "ES256"},
        "of another kind": signers["RS256"].jwk | {"alg": "ES256"},
        "a secret": {"kty": "oct", "k": b64(b"k" * 32), "kid": "one", "alg": "HS256"},
        "a secret that claims to fit": {"kty": "oct", "k": b64(b"k" * 32), "kid": "one", "alg": "ES256"},
        "private": private | {"kid": "one"},
        "no point of the curve": signer.jwk | {"x": b64(b"1" * 32)},
        "of numbers": signer.jwk | {"x": 1, "y": 2},
        "without x": {name: value for name, value in signer.jwk.items() if name != "x"},
        "with a list for a name": signer.jwk | {"kid": ["one"]},
        "with an object for a name": signer.jwk | {"kid": {}},
        "a number": 1,
        "a string": "one",
        "null": None,
        "a list": [signer.jwk],
        "empty": {},
    }
    for name, misfit in misfits.items():
        answer = httpx.Response(200, json={"keys": [misfit]})
        issuers = Issuers((trusted("ES256"),), transport=httpx.MockTransport(lambda _, answer=answer: answer))
        assert not await is_let_in(issuers, signer), name
    everything = httpx.Response(200, json={"keys": [*misfits.values(), signer.jwk]})
    issuers = Issuers((trusted("ES256"),), transport=httpx.MockTransport(lambda _: everything))
    assert await is_let_in(issuers, signer)


async def test_a_token_that_names_no_key_is_checked_with_the_only_one(signers: dict[str, Signer]) -> None:
    signer = signers["EdDSA"]
    for keys, expected in (([signer], True), ([signer, Signer("EdDSA", "two")], False)):
        provider = IdentityProvider(key_set(*keys))
        issuers = Issuers((trusted("EdDSA"),), transport=provider.transport())
        nameless = compact({"alg": "EdDSA"}, claims_for(uuid4()), signer.sign)
        assert await is_let_in(issuers, nameless) is expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_that_is_none_of_the_algorithm_is_refused_at_the_start(
    algorithm: str, signers: dict[str, Signer]
) -> None:
    private = signers[algorithm].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    others = [signer.pem.decode() for name, signer in signers.items() if name != algorithm]
    for public_key in (private, *others, "", "secret", signers[algorithm].pem.decode()[:-60]):
        with pytest.raises(ConfigurationError) as refused:
            Issuers((trusted(algorithm, jwks_url=None, public_key=public_key),))
        assert len(public_key) < 1 or public_key not in refused.value.message
    with pytest.raises(ConfigurationError, match="one issuer twice"):
        Issuers((trusted(algorithm), trusted(algorithm)))


@pytest.mark.drill
@pytest.mark.parametrize("number_of_tokens", amounts(200, 2_000))
async def test_tokens_with_a_long_beginning_in_common_are_not_taken_for_each_other(
    plane: ControlPlane, signers: dict[str, Signer], number_of_tokens: int
) -> None:
    signer, organization_id = signers["EdDSA"], (await plane.access.find_organization("default")).id
    issuer = trusted("EdDSA", jwks_url=None, public_key=signer.pem.decode())
    claims = {"about": "x" * 1500} | claims_for(organization_id)
    del claims["sub"]
    tokens = {
        f"subject {number}": signer.token(claims | {"sub": f"subject {number}"}) for number in range(number_of_tokens)
    }
    assert len({token[:2000] for token in tokens.values()}) == 1
    access = access_of(plane, Issuers((issuer,)), token_cache_seconds=30.0)
    # The second time round they come from memory.
    for _ in range(2):
        for subject, token in tokens.items():
            assert (await access.authenticate(token)).name == subject
