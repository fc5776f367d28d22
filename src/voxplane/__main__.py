"""The command line's entry: `voxplane`, or `python -m voxplane` where its script is not on the path."""

import sys


def main() -> None:
    """Run the command line. A machine that has a worker's packages and not the control plane's has `agent` alone."""
    try:
        from voxplane.cli import main as run  # noqa: PLC0415 - it is looked for
    except ModuleNotFoundError as error:
        if (error.name or "voxplane").partition(".")[0] == "voxplane":
            raise
        run = _run_agent_alone
    run()


def _run_agent_alone() -> None:
    if sys.argv[1:2] != ["agent"]:
        sys.exit(
            "Only `voxplane agent` can do with what is installed here; the rest needs pip install 'voxplane[server]'."
        )
    try:
        from voxplane.agent import main as run  # noqa: PLC0415 - a worker's packages, which may be missing too
    except ModuleNotFoundError:
        sys.exit("The agent needs LiveKit: pip install 'voxplane[livekit]'.")
    sys.argv[:2] = ["voxplane agent"]
    run()


if __name__ == "__main__":
    main()
