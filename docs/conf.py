"""Sphinx: ``make docs``."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import django
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.ext.graphviz import graphviz

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

project = PYPROJECT["project"]["name"]
release = PYPROJECT["project"]["version"]
author = f"The authors of {project}"
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

# Every reference has to resolve, except those to other projects, which are not looked up, and those
# to names that are only imported for type checking.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|datetime|django|google|requests|rest_framework|uuid|werkzeug)\..*"),
    (
        r"py:class",
        r"(A\w+User|Client|HttpRequest|Link\w+|Owner|Scopes|User|timedelta|\w*Credentials)",
    ),
    (r"py:exc", "ImproperlyConfigured"),
]

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_theme_options = {"top_of_page_buttons": []}

graphviz_output_format = "svg"
# White in dark mode too, because an image does not know the mode of the page.
graphviz_dot_args = [
    "-Gbgcolor=white",
    "-Gpad=0.2",
    "-Gfontname=sans-serif",
    "-Nfontname=sans-serif",
    "-Nfontsize=11",
    "-Nshape=box",
    "-Nstyle=rounded,filled",
    "-Nfillcolor=#eef3fb",
    "-Ncolor=#5b6b82",
    "-Efontname=sans-serif",
    "-Efontsize=10",
    "-Ecolor=#5b6b82",
]


class Layers(Directive):
    """Draws the layers of the import-linter contract."""

    def run(self) -> list[Any]:
        """Return the picture."""
        [layers] = [
            contract["layers"]
            for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
            if contract["type"] == "layers"
        ]
        rows = [layer.replace("(", "").replace(")", "").split(" | ") for layer in layers]
        node = graphviz(
            code=_digraph(rows),
            options={},
            alt="From the top: " + "; ".join(", ".join(row) for row in rows) + ".",
        )
        return [node]


def _digraph(rows: list[list[str]]) -> str:
    boxes = [f'row{number} [label="{"    ".join(row)}"]' for number, row in enumerate(rows)]
    order = " -> ".join(f"row{number}" for number in range(len(rows)))
    return f"digraph layers {{ ranksep=0.15\n {'; '.join(boxes)}\n {order} }}"


def setup(app: Sphinx) -> None:
    """Add the directives of these pages."""
    app.add_directive("layers", Layers)
