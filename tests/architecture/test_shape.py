"""Functions and modules that a reader can hold, and files that belong to no particular machine."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"
LONGEST_MODULE = 400
REASON = "Long because:"


def modules() -> list[Path]:
    """All but the migrations, which are records rather than programs."""
    return sorted(path for path in SOURCE.rglob("*.py") if "migrations" not in path.parts)


def function_lengths(module: Path) -> Iterator[int]:
    """Lines of each function that does something, without its docstring."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_a_promise(node):
            yield (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)


def is_a_promise(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """The method of a port has a docstring or an ellipsis for a body; counting those would flatter."""
    return all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in function.body)


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(function) is None:
        return 0
    first = function.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def gives_a_reason(module: Path) -> bool:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return any(line.startswith(REASON) for line in docstring.splitlines())


def texts_of_the_repository() -> Iterator[tuple[Path, str]]:
    folders = [SOURCE, *(REPOSITORY / name for name in ("tests", "benchmarks", ".ci", "deploy", "docs"))]
    nested = (path for folder in folders for path in folder.rglob("*"))
    for path in [*REPOSITORY.iterdir(), *nested]:
        if path.is_file() and "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8", errors="replace")


def test_functions_are_short() -> None:
    lengths = [length for module in modules() for length in function_lengths(module)]

    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[-1] <= 30


def test_long_modules_say_why() -> None:
    long = {module for module in modules() if len(module.read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE}

    assert not [str(module.relative_to(REPOSITORY)) for module in long if not gives_a_reason(module)]


def test_every_module_opens_with_what_it_is() -> None:
    silent = [
        str(module.relative_to(REPOSITORY))
        for module in modules()
        if module.stat().st_size and not ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    ]

    assert not silent


def test_no_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    places = {f"{place}/" for place in (REPOSITORY, REPOSITORY.parent, Path.home()) if len(place.parts) > 1}

    found = [
        f"{path.relative_to(REPOSITORY)}: {place}"
        for path, text in texts_of_the_repository()
        for place in places
        if any(f"{before}{place}" in text for before in (" ", '"', "'", "`", "=", "\n", "("))
    ]

    assert not found
