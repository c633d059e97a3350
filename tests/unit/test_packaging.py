"""The checkout and setup.cfg say the same about what is shipped."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = {"bluegreen": "fsm/bluegreen", "bluegreen_adapters": "adapters/bluegreen_adapters"}


@pytest.fixture
def options() -> ConfigParser:
    if not (CHECKOUT / "setup.cfg").exists():
        pytest.skip("the tests run outside a checkout")
    parser = ConfigParser()
    parser.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_directory_with_python_files_is_a_listed_package(options: ConfigParser) -> None:
    present = {
        ".".join(file.parent.relative_to((CHECKOUT / root).parent).parts)
        for root in ROOTS.values()
        for file in (CHECKOUT / root).rglob("*.py")
    }
    assert present == set(options["options"]["packages"].split())


def test_every_package_has_an_init_file(options: ConfigParser) -> None:
    for package in options["options"]["packages"].split():
        root, _, rest = package.partition(".")
        assert (CHECKOUT / ROOTS[root] / rest.replace(".", "/") / "__init__.py").is_file(), package


def test_both_packages_say_that_they_are_typed(options: ConfigParser) -> None:
    for root in ROOTS.values():
        assert (CHECKOUT / root / "py.typed").is_file()


def test_the_core_needs_attrs_and_transitions_and_nothing_more(options: ConfigParser) -> None:
    needs = options["options"]["install_requires"].split()
    assert [need.split(">=")[0] for need in needs] == ["attrs", "transitions"]


def test_the_extra_all_names_every_other_extra(options: ConfigParser) -> None:
    extras = dict(options["options.extras_require"])
    named = extras.pop("all").strip().removeprefix("bluegreen[").removesuffix("]").split(",")
    assert set(named) == set(extras)
