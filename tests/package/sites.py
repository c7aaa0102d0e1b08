"""Sites of which users link by their browser, each with another app that many sites have.

Each is what that app's documentation says to write, and then what ours says. It runs beside the
fake Google of the kit, and is used over HTTP by ``browse.py``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.documentation.pages import block_with
from tests.package.project import APP, FAKE, PROXY, Block, Project, pick_port

BROWSE = Path(__file__).with_name("browse.py")
REQUIREMENTS = [
    "django-allauth[socialaccount]",
    "django-tenants",
    "django-unfold",
    "psycopg[binary]",
    "wagtail",
]

_AGENDA = ("howto/front-ends", "def agenda")
_URLS = """
from django.urls import include
from mysite.views import agenda
urlpatterns += [
    path("agenda/", agenda),
    path("google/", include("django_google_link.urls")),
]
"""

_ANNA = ("--no-input", "--username=anna", "--email=anna@example.com")
_CREDENTIALS = {
    "GOOGLE_CLIENT_ID": "123456789012-abc.apps.googleusercontent.com",
    "GOOGLE_CLIENT_SECRET": "GOCSPX-abcdefghijklmnopqrstuvwxyz12",
    "GOOGLE_LINK_ENCRYPTION_KEYS": "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI=",
}
_DATABASE = f"google_link_package_{os.getpid()}"
# What libpq reads: the role of the tests, which may make databases.
_POSTGRESQL = {
    "PGHOST": os.environ.get("PGHOST", "127.0.0.1"),
    "PGUSER": os.environ.get("PGUSER", "google_link"),
    "PGPASSWORD": os.environ.get("PGPASSWORD", "google_link"),
}
_SQL = """
import sys, psycopg
with psycopg.connect(dbname="postgres", autocommit=True) as connection:
    connection.execute(sys.argv[1])
"""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a user does at a site: see ``browse.py``.

    Args:
        login_link: where a link leads by which they log in with Google; empty where they log in
            with a password.
        texts: on the page of their accounts.
        admin: where Django's admin is, in which they look at the account; empty where they may not.
        admin_texts: on its pages.
        hosts: at the first they link, and at the others they have not; without the port.
    """

    login_link: str = ""
    texts: list[str] = field(default_factory=list)
    admin: str = "/admin/"
    admin_texts: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=lambda: ["127.0.0.1"])
    view: str = "/agenda/"


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is written into a fresh project.

    Args:
        apps: what the project has already, by the file: the other app's documentation says so.
        blocks: which blocks of our documentation go into which file then.
        lines: what the project adds to them, by the file.
        templates: which blocks are templates of the project's.
        visit: what is done there.
        before: the commands of its own before its tables are made.
        users: the commands that make the users.
        start: how the project is begun.
        settings: the file with the settings.
        development: the file with those of development.
        fake: the block that leads to a fake Google.
        environment: variables.
    """

    apps: dict[str, str]
    blocks: dict[str, list[Block]]
    lines: dict[str, str] = field(default_factory=dict)
    templates: dict[str, Block] = field(default_factory=dict)
    visit: Visit = field(default_factory=Visit)
    before: tuple[tuple[str, ...], ...] = ()
    users: tuple[tuple[str, ...], ...] = (("createsuperuser", *_ANNA),)
    start: tuple[str, ...] = ("-m", "django", "startproject")
    settings: str = "mysite/settings.py"
    development: str = "mysite/settings.py"
    fake: Block = FAKE
    environment: dict[str, str] = field(default_factory=dict)


SITES = {
    "Wagtail": Site(
        start=("-m", "wagtail.bin.wagtail", "start"),
        settings="mysite/settings/base.py",
        development="mysite/settings/dev.py",
        apps={},
        blocks={
            "mysite/settings/base.py": [APP, PROXY],
            "mysite/views.py": [_AGENDA],
            "mysite/urls.py": [("howto/wagtail", "*urlpatterns")],
        },
        lines={"mysite/settings/base.py": 'LOGIN_URL = "wagtailadmin_login"\n'},
        templates={
            "mysite/templates/django_google_link/base.html": ("howto/wagtail", "extra_css"),
        },
        visit=Visit(admin="/django-admin/", texts=["css/mysite.css"]),
    ),
    "django-allauth": Site(
        apps={
            "mysite/settings.py": """
INSTALLED_APPS += [
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
]
MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
""",
        },
        blocks={
            "mysite/settings.py": [APP, PROXY, ("howto/allauth", "LOGIN_HINT")],
            "mysite/google.py": [("howto/allauth", "def find_google_account")],
            "mysite/views.py": [_AGENDA],
            "mysite/urls.py": [("howto/allauth", '"allauth.urls"')],
        },
        lines={
            "mysite/settings.py": 'LOGIN_URL = "account_login"\n',
            "mysite/urls.py": """
from mysite.views import agenda
urlpatterns += [path("agenda/", agenda)]
""",
        },
        fake=("howto/allauth", "fake_google_settings"),
        environment=_CREDENTIALS,
        users=(),
        visit=Visit(login_link="/accounts/google/login/", admin=""),
    ),
    "django-tenants": Site(
        apps={
            "customers/__init__.py": "",
            "customers/models.py": """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

class Customer(TenantMixin):
    name = models.CharField(max_length=100)

class Domain(DomainMixin):
    pass
""",
            "mysite/settings.py": f"""
DATABASES = {{
    "default": {{"ENGINE": "django_tenants.postgresql_backend", "NAME": "{_DATABASE}"}},
}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware", *MIDDLEWARE]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"
""",
        },
        blocks={
            "mysite/settings.py": [
                ("howto/tenants", "TENANT_APPS = ["),
                ("howto/deploying", "GOOGLE_LINK_ENCRYPTION_KEYS"),
                PROXY,
            ],
            "mysite/views.py": [_AGENDA],
        },
        lines={"mysite/settings.py": 'LOGIN_URL = "admin:login"\n', "mysite/urls.py": _URLS},
        environment={**_CREDENTIALS, **_POSTGRESQL},
        before=(("makemigrations", "--verbosity", "0", "customers"),),
        users=tuple(
            command
            for name in ("blue", "red")
            for command in (
                (
                    "create_tenant",
                    "--no-input",
                    f"--schema_name={name}",
                    f"--name={name}",
                    f"--domain-domain={name}.localhost",
                ),
                ("tenant_command", "createsuperuser", f"--schema={name}", *_ANNA),
            )
        ),
        visit=Visit(hosts=["blue.localhost", "red.localhost"]),
    ),
    "django-unfold": Site(
        apps={
            "mysite/settings.py": """
INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
""",
            "office/__init__.py": "",
        },
        blocks={
            "mysite/settings.py": [APP, PROXY],
            "mysite/views.py": [_AGENDA],
            "office/admin.py": [("howto/admin-themes", "from unfold.admin")],
        },
        lines={
            "mysite/settings.py": 'INSTALLED_APPS += ["office"]\n',
            "mysite/urls.py": _URLS,
        },
        visit=Visit(admin_texts=["unfold/css/styles.css"]),
    ),
}


def link_from_sites(python: str, home: Path) -> Iterator[str]:
    """Make each site, run it, and link in it; yield what was printed.

    Args:
        python: an interpreter that has the package with ``api`` and ``testing``, and REQUIREMENTS.
        home: a folder to be made.
    """
    return (_link(name, python, home / name, site) for name, site in SITES.items())


def _link(name: str, python: str, folder: Path, site: Site) -> str:
    project = Project(
        python=python, folder=folder, settings=site.settings, environment=site.environment
    )
    project.start(site.start)
    for file, text in site.apps.items():
        project.write(file, text)
    project.write_blocks(site.blocks)
    for file, text in site.lines.items():
        project.write(file, text)
    for file, (page, text) in site.templates.items():
        project.write(file, block_with(page, text, "html"))
    with _database(project):
        return _run(name, project, site)


@contextmanager
def _database(project: Project) -> Iterator[None]:
    """Make a database for it, if it is to have one on a server."""
    if "PGHOST" not in project.environment:
        yield
        return
    project.run(project.python, "-c", _SQL, f"CREATE DATABASE {_DATABASE}")
    try:
        yield
    finally:
        project.run(project.python, "-c", _SQL, f"DROP DATABASE {_DATABASE} WITH (FORCE)")


def _run(name: str, project: Project, site: Site) -> str:
    for command in (*site.before, ("migrate", "--verbosity", "0")):
        project.manage(*command)
    project.check()
    for command in site.users:
        project.manage(*command)
    port, google_port = pick_port(), pick_port()
    project.lead_to_fake(google_port, settings=site.development, block=site.fake)
    shutil.copy(BROWSE, project.folder)
    hosts = [f"{host}:{port}" for host in site.visit.hosts]
    visit = {"name": name, "address": f"http://127.0.0.1:{port}", **asdict(site.visit)}
    with project.running(port, google_port):
        return project.run(project.python, "browse.py", json.dumps(visit | {"hosts": hosts}))
