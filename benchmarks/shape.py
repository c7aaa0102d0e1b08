"""Print the shape of the package: ``python benchmarks/shape.py [CHECKOUT]``. Imports none of it."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "django_google_link"


class Size(NamedTuple):
    """How many lines something has."""

    lines: int
    name: str


def main(root: Path) -> None:
    """Print it."""
    package = root / PACKAGE
    modules = {
        path.relative_to(package): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
        if "migrations" not in path.parts
    }
    at_the_top = [path for path in modules if len(path.parts) == 1 and path.stem != "__init__"]
    longest_module = max(Size(len(text.splitlines()), str(path)) for path, text in modules.items())
    longest_function = max(size for path, text in modules.items() for size in functions(path, text))
    print(f"modules: {len(modules)}, of which in the package's root: {len(at_the_top)}")
    print(f"layers: {layers(root)}")
    print(f"longest module: {longest_module.name}, {longest_module.lines} lines")
    print(f"longest function: {longest_function.name}, {longest_function.lines} lines")


def functions(path: Path, text: str) -> Iterator[Size]:
    """Yield the size of each function, its decorators and docstring included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield Size((node.end_lineno or first) - first + 1, f"{path}: {node.name}()")


def layers(root: Path) -> int:
    """Return how many lines the import contract has."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    [layers] = [
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return len(layers)


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
