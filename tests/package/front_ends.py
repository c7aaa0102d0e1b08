"""Three sites of which a front end links, made by ``startproject`` and by what the guides say.

Each runs beside the fake Google of the kit, and is used over HTTP by ``link.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.package.project import APP, PROXY, Block, Project, pick_port

LINK = Path(__file__).with_name("link.py")

_CLIENT = ("howto/single-page-apps", "FRONT_END_REDIRECT_URIS")


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is written into a fresh project.

    Args:
        blocks: which blocks of the documentation go into which file.
        lines: what is the project's own: where its view is.
        api: where the endpoints are.
        view: the address of a view that needs an account.
        token_url: where a user gets a token; empty where they log in with a session.
    """

    blocks: dict[str, list[Block]]
    lines: str
    api: str
    view: str
    token_url: str = ""


SITES = {
    "sessions": Site(
        blocks={
            "mysite/settings.py": [APP, PROXY, _CLIENT],
            "mysite/views.py": [("howto/front-ends", "def agenda")],
            "mysite/urls.py": [("howto/front-ends", "django_google_link.headless.urls")],
        },
        lines='from mysite.views import agenda\nurlpatterns += [path("agenda/", agenda)]\n',
        api="/google/api/",
        view="/agenda/",
    ),
    "rest_framework": Site(
        blocks={
            "mysite/settings.py": [
                APP,
                PROXY,
                _CLIENT,
                ("howto/rest-framework", "EXCEPTION_HANDLER"),
                ("howto/rest-framework", "JWTAuthentication"),
            ],
            "mysite/views.py": [("howto/rest-framework", "class AgendaView")],
            "mysite/urls.py": [
                ("howto/rest-framework", "django_google_link.contrib.rest_framework.urls"),
                ("howto/rest-framework", "TokenObtainPairView"),
            ],
        },
        lines="from mysite.views import AgendaView\n"
        'urlpatterns += [path("agenda/", AgendaView.as_view())]\n',
        api="/google/api/",
        view="/agenda/",
        token_url="/api/token/",
    ),
    "ninja": Site(
        blocks={
            "mysite/settings.py": [APP, PROXY, _CLIENT],
            "mysite/api.py": [("howto/ninja", "NinjaAPI"), ("howto/ninja", "api.add_router")],
            "mysite/urls.py": [("howto/ninja", "api.urls")],
        },
        lines="",
        api="/api/google/",
        view="/api/agenda",
    ),
}


def link_from_front_ends(python: str, home: Path) -> Iterator[str]:
    """Make each site, run it, and link from a front end; yield what was printed.

    Args:
        python: an interpreter that has the package with ``api``, ``drf``, ``ninja`` and
            ``testing``, and SimpleJWT.
        home: a folder to be made.
    """
    return (_link(python, home / name, site) for name, site in SITES.items())


def _link(python: str, folder: Path, site: Site) -> str:
    project = Project(python=python, folder=folder)
    project.start()
    project.write_blocks(site.blocks)
    project.write("mysite/urls.py", site.lines)
    project.write(project.settings, 'LOGIN_URL = "admin:login"\n')
    project.manage("migrate", "--verbosity", "0")
    project.check()
    port, google_port = pick_port(), pick_port()
    project.lead_to_fake(google_port)
    who = ["--username", "anna", "--email", "anna@example.com"]
    project.manage("createsuperuser", "--no-input", *who)
    shutil.copy(LINK, folder)
    with project.running(port, google_port):
        url = f"http://127.0.0.1:{port}"
        return project.run(python, "link.py", url, site.api, site.view, site.token_url)
