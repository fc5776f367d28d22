"""`voxplane verify`: test whether providers work, as they are saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from voxplane.command import Json, Organization, run_for
from voxplane.server.rounds import Round, Tried, verify_each
from voxplane.terminal import err, say, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from voxplane.schemas.verification import Verdict
    from voxplane.server.auth import Principal
    from voxplane.server.control_plane import ControlPlane

_MARKS: dict[Verdict | None, str] = {
    "works": "[green]✓[/]",
    "inconclusive": "[yellow]![/]",
    "fails": "[red]✗[/]",
    None: "[red]✗[/]",
}


def verify(
    keys: Annotated[list[str] | None, typer.Argument(metavar="PROVIDER", help="Which, such as openai.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All providers of the catalogue.")] = False,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Test whether providers accept their keys and offer their models: a request to each, free or nearly so.

    Without a name, those that are enabled. Exit code 1 says that one of them does not work.
    """
    if keys and everything:
        raise typer.BadParameter("Name providers, or say --all.")

    async def test(plane: ControlPlane, who: Principal) -> Round:
        chosen = list(dict.fromkeys(keys or await _chosen(plane, who, everything=everything)))
        for key in chosen:
            plane.registry.get_provider_by_key(key)
        done = 0
        with err.status("Asking…") as status:

            def tell(tried: Tried) -> None:
                nonlocal done
                done += 1
                status.update(f"{done} of {len(chosen)}: {tried.name}")

            return await verify_each(plane, who, chosen, tell)

    found = run_for(organization, test)
    show(found, as_json, lambda: _drawn(found))
    if not found.providers:
        say("No provider is enabled: name one, or say --all.")
    if any(each.result is None or each.result.verdict == "fails" for each in found.providers):
        raise typer.Exit(1)


async def _chosen(plane: ControlPlane, who: Principal, *, everything: bool) -> list[str]:
    if everything:
        return [each.key for each in plane.registry.get_all_providers()]
    shown = await plane.providers.get_organization_providers(who, enabled=True)
    return [each.provider.key for each in shown.providers if each.reason != "retired"]


def _drawn(found: Round) -> Table:
    rows: list[tuple[object, ...]] = []
    for each in found.providers:
        result = each.result
        if result is None:
            rows.append((_MARKS[None], each.provider, "not tested", "", each.problem))
        else:
            took = f"{result.milliseconds} ms" if result.milliseconds else ""
            said = " ".join(part for part in (result.sentence, result.advice) if part)
            rows.append((_MARKS[result.verdict], each.provider, result.outcome, took, said))
    return table("", "Provider", "Outcome", "Took", "What it means", rows=rows)
