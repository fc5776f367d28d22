"""The console: the built files of `ui/`, and the policy under which a browser runs them."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from voxplane.errors import NotFound
from voxplane.server.problem import problem_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from fastapi.requests import Request

STATIC = Path(__file__).parent / "static"
PAGES = ("/", "/signin", "/activity", "/providers", "/providers/{rest:path}")
"""The console's own addresses: all of them are one page, which reads the address itself."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "microphone=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# Their names carry a digest of what is in them.
_ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}
_ENCODINGS = {"br": ".br", "gzip": ".gz"}


@dataclass(frozen=True)
class _File:
    media_type: str
    etag: str
    plain: bytes
    encoded: Mapping[str, bytes]

    @classmethod
    def read(cls, path: Path) -> _File:
        plain = path.read_bytes()
        packed = {name: path.with_name(path.name + suffix) for name, suffix in _ENCODINGS.items()}
        return cls(
            media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
            etag=f'"{hashlib.sha256(plain).hexdigest()[:32]}"',
            plain=plain,
            encoded={name: each.read_bytes() for name, each in packed.items() if each.exists()},
        )

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        common = {**headers, "ETag": self.etag, "Vary": "Accept-Encoding"}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=common)
        accepted = [each.partition(";")[0].strip() for each in request.headers.get("accept-encoding", "").split(",")]
        for name, body in self.encoded.items():
            if name in accepted:
                return Response(body, 200, {**common, "Content-Encoding": name}, self.media_type)
        return Response(self.plain, 200, common, self.media_type)


def add_console(app: FastAPI, static: Path = STATIC) -> None:
    """Serve the console from its built files, read once; where it was not built, its pages lead to the reference."""
    is_built = (static / "index.html").exists()
    page = _File.read(static / "index.html") if is_built else None
    assets = {
        path.name: _File.read(path)
        for path in ((static / "assets").iterdir() if is_built else ())
        if path.suffix not in _ENCODINGS.values()
    }

    async def console_page(request: Request) -> Response:
        return page.answer(request, _PAGE_HEADERS) if page else RedirectResponse("/docs", 307)

    async def console_asset(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        return (
            asset.answer(request, _ASSET_HEADERS) if asset else problem_response(NotFound(), request.state.request_id)
        )

    for path in PAGES:
        app.add_route(path, console_page, methods=["GET"], include_in_schema=False)
    app.add_route("/assets/{name}", console_asset, methods=["GET"], include_in_schema=False)
