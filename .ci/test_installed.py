"""Copied beside the tests by wheel.py: they must see the wheel, not a checkout."""

from __future__ import annotations

import importlib
import sysconfig
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import pytest

SITE_PACKAGES = Path(sysconfig.get_path("purelib")).resolve()


@pytest.mark.parametrize("name", ["bluegreen", "bluegreen_adapters"])
def test_the_package_under_test_is_the_installed_one(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert SITE_PACKAGES in Path(module.__file__).resolve().parents


@pytest.mark.parametrize("name", ["bluegreen", "bluegreen_adapters"])
def test_the_installed_package_says_that_it_is_typed(name: str) -> None:
    assert files(name).joinpath("py.typed").is_file()


def test_every_entry_point_of_the_distribution_loads() -> None:
    points = distribution("bluegreen").entry_points
    assert {point.group for point in points} == {"console_scripts", "bluegreen.commands", "pytest11"}
    for point in points:
        found = point.load()
        if point.group == "pytest11":  # a module of hooks
            assert callable(found.pytest_addoption)
        else:
            assert callable(found)
