"""`python -m voxplane` is the command line, for where its script is not on the path."""

from voxplane.cli import main

main()
