"""The tutorial leads to an agenda."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT
from tests.documentation.tutorial import follow, type_in
from tests.package.tutorial_site import answers, pick_port, running, visit_agenda
from tests.support.times import until

pytestmark = pytest.mark.processes


def test_tutorial_leads_to_an_agenda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command ends well, the tests pass, and without Google there is an agenda."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    port, google_port = pick_port(), pick_port()

    printed = "".join(follow(sys.executable, tmp_path))

    assert "System check identified no issues" in printed
    assert "Ran 2 tests" in printed
    assert "anna: not_linked" in printed
    settings = tmp_path / "mysite" / "settings.py"
    text = settings.read_text()
    settings.write_text(text.replace("(GOOGLE_LINK)", f"(GOOGLE_LINK, port={google_port})"))
    site, google = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{google_port}"
    with (
        running(sys.executable, tmp_path, "google_link_fake", f"--port={google_port}"),
        running(sys.executable, tmp_path, "runserver", "--noreload", f"127.0.0.1:{port}"),
    ):
        until(lambda: answers(f"{site}/admin/login/") and answers(google))
        agenda = visit_agenda(site, google)

        assert "Agenda of anna@example.org" in agenda
        assert "Dentist" in agenda
        assert "anna: 3" in type_in(sys.executable, "python manage.py agenda", tmp_path)
