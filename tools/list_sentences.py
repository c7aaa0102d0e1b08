"""Print every sentence that people are told, by page and module, for somebody who reads them all.

    python tools/list_sentences.py > sentences.md

These are the translatable texts, and all other texts of two or more words but docstrings. What
stands for a value is in braces.
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages.extract import extract
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent

#: Where a section's texts are. The first section that matches has them; the last takes the rest.
SECTIONS = {
    "Example site": r"example_project/",
    "Admin": r"\w+/(admin/|models|apps|templates/.*/admin/)",
    "Pages": r"\w+/(templates|views|web|scopes)",
    "Front ends": r"\w+/(headless|contrib|static)",
    "Settings and system checks": r"\w+/(checks|conf|encryption)",
    "Commands": r"\w+/(management|operations)",
    "Testing kit": r"\w+/testing",
    "Errors and log lines": r"",
}
#: The texts of models once more, and tables of names.
_LEFT_OUT = re.compile(r"migrations/|conf/(implied_scopes|scope_classes)|/tests\.py")
_GETTEXT = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
_TWO_WORDS = re.compile(r"[^\W\d_]{2,}[,:;.]? +\S*[^\W\d_]{2,}|[^\W\d_]{2,} \{")
_IS_CODE = re.compile(r"^(SELECT|UPDATE|SHOW|PRAGMA|Bearer|Basic) |^<\w|\(\?|\\[bdswW]")
_JAVASCRIPT = re.compile(r"//[^\n]*|/\*.*?\*/|\"([^\"\n]*)\"|`([^`]*)`", re.DOTALL)


def main() -> None:
    """Print a heading for each section and each file, and below it what is said there."""
    folders = (ROOT / "django_google_link", ROOT / "example_project")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.*"))]
    remaining = {path.relative_to(ROOT).as_posix(): path for path in paths}
    for section, pattern in SECTIONS.items():
        print(f"# {section}\n")
        for name in [name for name in remaining if re.match(pattern, name)]:
            print_sentences(name, remaining.pop(name))


def print_sentences(name: str, path: Path) -> None:
    """Print what a file says, in its order, each sentence once."""
    find = {".html": _find_in_template, ".js": _find_in_javascript, ".py": _find_in_python}
    if path.suffix not in find or _LEFT_OUT.search(name):
        return
    text = path.read_text(encoding="utf-8")
    found = (re.sub(r"\s+", " ", sentence).strip() for sentence in find[path.suffix](text))
    if sentences := list(dict.fromkeys(found)):
        print(f"## {name}\n")
        print("\n".join(f"- {sentence}" for sentence in sentences), end="\n\n")


def _find_in_template(text: str) -> Iterator[str]:
    """Yield what is translatable, or all of it in a template without translations."""
    if "{% load i18n" not in text:
        shown = re.sub(r"<script>.*?</script>|{%.*?%}|<[^>]+>", "\n", text, flags=re.DOTALL)
        yield from filter(_is_sentence, shown.splitlines())
        return
    for _, message, _, _ in extract("python", io.BytesIO(templatize(text).encode())):
        yield from [message] if isinstance(message, str) else message


def _find_in_javascript(text: str) -> Iterator[str]:
    for quoted in _JAVASCRIPT.finditer(text):
        if _is_sentence(sentence := quoted[1] or quoted[2] or ""):
            yield sentence


def _find_in_python(text: str) -> Iterator[str]:
    yield from _walk(ast.parse(text), is_translatable=False)


def _walk(node: ast.AST, *, is_translatable: bool) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Constant()):  # A docstring.
            return
        case ast.Constant(value=str(text)) if is_translatable or _is_sentence(text):
            yield text
        case ast.JoinedStr():
            if _is_sentence(text := _write_with_braces(node)):
                yield text
        case _:
            name = getattr(getattr(node, "func", None), "id", "")
            for child in ast.iter_child_nodes(node):
                yield from _walk(child, is_translatable=name in _GETTEXT)


def _write_with_braces(node: ast.JoinedStr) -> str:
    """Return a formatted string with its expressions as they stand there."""
    text = ""
    for part in node.values:
        match part:
            case ast.Constant(value=value):
                text += str(value)
            case ast.FormattedValue(value=value):
                text += f"{{{ast.unparse(value)}}}"
    return text


def _is_sentence(text: str) -> bool:
    return bool(_TWO_WORDS.search(text)) and not _IS_CODE.search(text)


if __name__ == "__main__":
    main()
