"""Links that sign in once: what they are worth, to whom and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import Caller
from voxplane.errors import SignInExpired
from voxplane.server.auth import ADMINISTRATOR_SCOPES
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.sign_in import SignInCodes


async def redeem(client: httpx.AsyncClient, code: str) -> httpx.Response:
    return await client.post("/api/sign-in", json={"code": code})


async def test_a_code_is_good_once_for_a_token_of_a_day(plane: ControlPlane, caller: Caller) -> None:
    client = await caller()
    code = await plane.sign_in_code()
    assert code is not None
    first = await redeem(client, code)
    assert (first.status_code, first.headers["cache-control"]) == (201, "no-store")
    token = first.json()
    assert set(token["scopes"]) == {scope.value for scope in ADMINISTRATOR_SCOPES}
    lasts = datetime.fromisoformat(token["expiresAt"]) - datetime.now(UTC)
    assert timedelta(hours=23) < lasts <= timedelta(days=1)
    me = await client.get("/api/me", headers={"Authorization": f"Bearer {token['value']}"})
    assert me.json()["organization"]["slug"] == "default"
    again = await redeem(client, code)
    assert (again.status_code, again.json()["code"]) == (401, "sign_in_expired")
    assert code not in again.text


async def test_a_code_ends_after_ten_minutes_and_a_guess_is_worth_nothing(plane: ControlPlane) -> None:
    now = 0.0
    codes = SignInCodes(plane.access, clock=lambda: now)
    organization = await plane.access.find_organization("default")
    code = await plane.sign_in_code()
    assert code is not None
    with pytest.raises(SignInExpired):
        await codes.redeem(code)  # another process's
    mine, late = (codes.issue(local_administrator(organization.id, "somebody")) for _ in range(2))
    now = 599.0
    assert (await codes.redeem(mine)).name == "Console of somebody"
    now = 601.0
    with pytest.raises(SignInExpired):
        await codes.redeem(late)


async def test_only_so_many_codes_are_open_at_a_time(plane: ControlPlane) -> None:
    codes = [await plane.sign_in_code() for _ in range(101)]
    assert codes[0] is not None
    assert codes[-1] is not None
    with pytest.raises(SignInExpired):
        await plane.sign_in.redeem(codes[0])
    assert (await plane.sign_in.redeem(codes[-1])).value
