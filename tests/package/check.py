"""Build the wheel, and use it as a stranger would: in an empty environment, in a fresh project.

The other tests import the checkout, and would not notice a template that is missing in the wheel.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.documentation.tutorial import follow
from tests.package.front_ends import link_from_front_ends
from tests.package.sites import REQUIREMENTS, link_from_sites

PACKAGE = "django_google_link"
ROOT = Path(__file__).parents[2]
VISIT = Path(__file__).with_name("visit.py")
SAMPLE = ROOT / "tests" / "sample_project"

SETTINGS = """
INSTALLED_APPS += ["django_google_link"]
STATIC_ROOT = BASE_DIR / "static"
LOGIN_URL = "admin:login"
GOOGLE_LINK = {
    "CLIENTS": {
        "default": {"CLIENT_ID": "1-a.apps.googleusercontent.com", "CLIENT_SECRET": "secret"},
    },
    "ENCRYPTION_KEYS": ["kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="],
}
"""

URLS = """
from django.urls import include
urlpatterns += [path("google/", include("django_google_link.urls"))]
"""

# Without its extra the testing kit can be imported, and our modules come alone.
IMPORTS = f"""
from importlib.util import find_spec
import {PACKAGE}, {PACKAGE}.testing
assert "site-packages" in {PACKAGE}.__file__, {PACKAGE}.__file__
for stranger in ("tests", "example_project", "benchmarks", "werkzeug"):
    assert find_spec(stranger) is None, stranger
"""


def main() -> None:
    with TemporaryDirectory() as directory:
        home = Path(directory)
        wheel, sdist = build(clean_copy(home / "source"), home / "dist")
        check_contents(wheel, sdist)
        python = install(wheel, home / "venv")
        run(python, "-c", IMPORTS, cwd=home)
        use(python, home / "project")
        print(test_a_sample(python, wheel, home / "sample"))
        (home / "tutorial").mkdir()
        print(follow(python, home / "tutorial")[-1])
        more = ["djangorestframework-simplejwt", *REQUIREMENTS]
        run(
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            f"{wheel}[api,drf,ninja,testing]",
            *more,
            cwd=home,
        )
        for link in link_from_front_ends, link_from_sites:
            for said in link(python, home / link.__name__):
                print(said, end="", flush=True)
    print(f"{wheel.name}: complete, and works in a fresh project.")


def clean_copy(to: Path) -> Path:
    """Copy the checkout without what earlier builds left: setuptools would take files from it."""
    leftovers = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")
    return Path(shutil.copytree(ROOT, to, ignore=leftovers))


def build(source: Path, to: Path) -> tuple[Path, Path]:
    """Build the sdist, and from it the wheel."""
    run(sys.executable, "-m", "build", "--outdir", str(to), str(source), cwd=source)
    (wheel,), (sdist,) = to.glob("*.whl"), to.glob("*.tar.gz")
    # The front page of the package index is the README.
    run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist), cwd=to)
    return wheel, sdist


def check_contents(wheel: Path, sdist: Path) -> None:
    """Compare the archives with the checkout, file by file."""
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    assert_equal({name for name in files if ".dist-info/" not in name}, package, wheel.name)
    assert f"{PACKAGE}/py.typed" in files, "py.typed is missing"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in files), "no license"

    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2] for member in archive if member.isfile()}
    extras = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"}
    generated = {name for name in members if ".egg-info/" in name or name == "PKG-INFO"}
    assert_equal(members - generated, package | extras, sdist.name)


def assert_equal(found: set[str], wanted: set[str], archive: str) -> None:
    problems = [f"missing: {name}" for name in sorted(wanted - found)]
    problems += [f"does not belong there: {name}" for name in sorted(found - wanted)]
    if problems:
        sys.exit("\n".join([archive, *problems]))


def install(wheel: Path, to: Path) -> str:
    """Install the wheel with the extra that most projects want, and nothing else."""
    venv.create(to, with_pip=True)
    python = str(to / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[api]", cwd=to)
    return python


def use(python: str, project: Path) -> None:
    """Do what the README says, and look at the pages."""
    project.mkdir()
    run(python, "-m", "django", "startproject", "mysite", ".", cwd=project)
    for name, addition in ("settings", SETTINGS), ("urls", URLS):
        with (project / "mysite" / f"{name}.py").open("a") as file:
            file.write(addition)
    for command in (
        ["check", "--fail-level", "WARNING"],
        ["makemigrations", "--check"],
        ["migrate", "--verbosity", "0"],
        ["collectstatic", "--no-input", "--verbosity", "0"],
    ):
        run(python, "manage.py", *command, cwd=project)
    shutil.copy(VISIT, project)
    run(python, "manage.py", "shell", "--command", "import visit", cwd=project)


def test_a_sample(python: str, wheel: Path, project: Path) -> str:
    """Let another project test its views with the kit, and return how long each test took."""
    kit = [f"{wheel}[api,testing]", "pytest", "pytest-django"]
    run(python, "-m", "pip", "install", "--quiet", *kit, cwd=project.parent)
    shutil.copytree(SAMPLE, project)
    run(python, "manage.py", "test", cwd=project)
    options = ["--quiet", "--durations=0", "--durations-min=0.02", "-p", "no:cacheprovider"]
    return run(python, "-m", "pytest", *options, cwd=project)


def run(*command: str, cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    main()
