"""What use cases say of themselves is there, and names errors that there are; contracts name their fixtures."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType
from typing import get_type_hints

import pytest

from llm_backend import Backend
from llm_backend.domain import errors
from llm_backend.testing import contracts

USE_CASES = dict(sorted(get_type_hints(Backend).items()))

_SENTENCE = re.compile(r"Raises\s(.*?)(?:\.(?=\s|$)|$)", re.DOTALL)
_SAYS_ANOTHER = re.compile(r"what (?:`[\w.]+`(?:,| and| or)?\s)+(?:do|does|raises?)\b")  # what `SendMessage` does
_NAME = re.compile(r"`([A-Z]\w*)")


def documented(use_case: type) -> str:
    called = vars(use_case).get("__call__")
    return "\n\n".join(filter(None, (use_case.__doc__, called.__doc__ if called else None)))


def errors_in(text: str) -> Iterator[str]:
    """The names after "Raises", without those of what raises the same."""
    for sentence in _SENTENCE.findall(text):
        yield from _NAME.findall(_SAYS_ANOTHER.sub("", " ".join(sentence.split())))


def referred_to_in(text: str) -> Iterator[str]:
    for sentence in _SENTENCE.findall(text):
        for other in _SAYS_ANOTHER.findall(" ".join(sentence.split())):
            yield from _NAME.findall(other)


def is_an_error(name: str) -> bool:
    found = getattr(errors, name, None)
    return isinstance(found, type) and issubclass(found, errors.DomainError)


@pytest.mark.parametrize("use_case", USE_CASES)
def test_every_use_case_says_what_it_does(use_case: str) -> None:
    kind = USE_CASES[use_case]

    # A dataclass without a docstring gets its signature for one.
    assert documented(kind).strip()
    assert not documented(kind).startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("use_case", USE_CASES)
def test_what_a_use_case_says_it_raises_is_an_error_of_the_domain(use_case: str) -> None:
    named = set(errors_in(documented(USE_CASES[use_case])))

    assert {name for name in named if not is_an_error(name)} == set()


@pytest.mark.parametrize("use_case", USE_CASES)
def test_whoever_a_use_case_refers_to_is_known_where_it_is_defined(use_case: str) -> None:
    kind = USE_CASES[use_case]

    home = vars(inspect.getmodule(kind))
    assert {name for name in referred_to_in(documented(kind)) if name not in home} == set()


@pytest.mark.parametrize(
    "use_case",
    ["register_user", "log_in", "create_conversation", "send_message", "ask_knowledge_base", "retrieve"],
)
def test_what_a_first_program_calls_names_its_errors(use_case: str) -> None:
    assert set(errors_in(documented(USE_CASES[use_case])))


def test_the_use_cases_are_all_looked_at() -> None:
    assert USE_CASES.keys() == {field.name for field in fields(Backend)}


def contract_classes() -> list[type]:
    modules = [import_module(f"{contracts.__name__}.{module.name}") for module in iter_modules(contracts.__path__)]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return sorted((kind for kind in found if kind.__name__.endswith("Contract")), key=lambda kind: kind.__name__)


def fixtures_of(contract: type) -> set[str]:
    """Those that its tests take, but for pytest's and those that it brings with it."""
    methods = [(name, method) for name, method in inspect.getmembers(contract) if not name.startswith("__")]
    tests = [method for name, method in methods if name.startswith("test_")]
    others = {name for name, _ in methods if not name.startswith("test_")}
    taken = {name for test in tests for name in fixtures_taken_by(test)}
    return taken - others - {"tmp_path"}


def fixtures_taken_by(test: FunctionType) -> set[str]:
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    listed = [mark.args[0] for mark in marks]
    given = {one.strip() for names in listed for one in (names.split(",") if isinstance(names, str) else names)}
    return set(inspect.signature(test).parameters) - given - {"self"}


@pytest.mark.parametrize("contract", contract_classes())
def test_every_contract_names_its_fixtures_in_the_same_words(contract: type) -> None:
    _, said, needs = " ".join((contract.__doc__ or "").split()).partition("Needs the fixture")

    assert said
    assert fixtures_of(contract) <= set(re.findall(r"`(\w+)`", needs))
