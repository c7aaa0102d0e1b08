"""Many pictures on one, to be looked at together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SHEET = """<!doctype html><meta charset="utf-8"><style>
body { display: grid; grid-template-columns: repeat(%(columns)d, 1fr); gap: 12px; margin: 12px;
background: #888; font: 14px sans-serif } img { width: 100%% } figure { margin: 0 }
</style>%(figures)s"""


def write_contact_sheets(page: Page, folder: Path) -> None:
    """Write ``sheet-390-dark.png`` of all that is called ``…-390-dark.png``, and so on."""
    groups: dict[str, list[Path]] = {}
    for picture in sorted(folder.glob("*-*-*.png")):
        groups.setdefault("-".join(picture.stem.split("-")[-2:]), []).append(picture)
    for group, pictures in groups.items():
        figures = "".join(
            f'<figure><figcaption>{picture.stem}</figcaption><img src="{picture.name}"></figure>'
            for picture in pictures
        )
        columns = 8 if group.startswith("3") else 4
        sheet = folder / f"{group}.html"
        sheet.write_text(SHEET % {"columns": columns, "figures": figures}, encoding="utf-8")
        page.set_viewport_size({"width": 1800, "height": 800})
        page.goto(sheet.as_uri())
        page.screenshot(path=folder / f"{group}.png", full_page=True)
