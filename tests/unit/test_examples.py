"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import bluegreen
import bluegreen_adapters
import selfcheck


def modules() -> Iterator[str]:
    for package in (bluegreen, bluegreen_adapters, selfcheck):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith(".__main__"):
                yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_the_examples_of_the_module_print_what_they_say(name: str) -> None:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert result.failed == 0
