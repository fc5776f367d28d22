"""The table of what the console is held to tells the truth: every number has its tests, or is said not to be built."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).parent
ROW = re.compile(r"^\| (\d+) \|(.*)\| (.*) \|$", re.MULTILINE)
TEST = re.compile(r"^def test_check_(\d\d(?:_and_\d\d)*)_", re.MULTILINE)


def test_every_check_has_a_test_that_names_it_or_is_said_to_be_of_later_work() -> None:
    tested: defaultdict[int, set[str]] = defaultdict(set)
    for file in FOLDER.glob("test_*.py"):
        for numbers in TEST.findall(file.read_text()):
            for number in numbers.split("_and_"):
                tested[int(number)].add(file.name)
    rows = ROW.findall((FOLDER / "README.md").read_text())
    assert [int(number) for number, _, _ in rows] == list(range(1, 73))
    for number, what, where in rows:
        assert bool(what.strip()) is not where.startswith("not yet: ")
        assert set(re.findall(r"`(test_\w+\.py)`", where)) == tested[int(number)], number
