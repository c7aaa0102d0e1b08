"""AWS KMS by boto3, which speaks to moto's server, and to one that answers what moto does not."""

from __future__ import annotations

import io
import json
import logging
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from werkzeug import Request, Response

from django_google_link.conf.settings import forget_key_functions
from django_google_link.encryption.format import Binding
from django_google_link.encryption.keyring import key_ids, make_key, require_key, seal, unseal
from django_google_link.exceptions import KeyServiceError
from django_google_link.secret import Secret
from django_google_link.testing import make_google_account, travel
from tests.support.aws_kms import lead_to
from tests.support.databases import at_once, new_user
from tests.support.key_services import make_up, use_keys
from tests.support.servers import served

pytestmark = [pytest.mark.kms, pytest.mark.slow]

REGION = "eu-central-1"
ARN = f"arn:aws:kms:{REGION}:111122223333:key/1b2c"


def make_client() -> Any:
    """Return an operator's own client."""
    import boto3

    return boto3.client("kms", region_name=REGION)


@pytest.fixture
def arn(aws: str, site: Settings) -> str:
    """A key of AWS."""
    return str(make_client().create_key()["KeyMetadata"]["Arn"])


def wrap(name: str, command: str = "generate_key", **options: Any) -> list[str]:
    """Print keys, and return them."""
    out = io.StringIO()
    call_command(f"google_link_{command}", wrap_with=f"aws-kms:{name}", stdout=out, **options)
    return out.getvalue().split()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A server in the place of AWS."""
    stand_in = StandIn()
    with served(stand_in.application) as url:
        lead_to(url, monkeypatch)
        yield stand_in


class StandIn:
    """Answers what a test wants, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], Response]

    @Request.application
    def application(self, request: Request) -> Response:
        """Answer."""
        self.asked += 1
        return self.answer()


def refuse(code: str, status: int = 400) -> Response:
    """Return an error as AWS KMS has them."""
    return Response(json.dumps({"__type": code, "message": "hush-hush"}), status)


def test_wrapped_key_is_unwrapped(arn: str, site: Settings) -> None:
    """By the ARN of what an alias stood for: with its region, which nobody else names here."""
    make_client().create_alias(AliasName=f"alias/{arn[-8:]}", TargetKeyId=arn)
    alias = f"{arn.rpartition(':')[0]}:alias/{arn[-8:]}"

    [text] = wrap(alias)

    assert text.startswith(f"aws-kms:{arn}:")
    use_keys(site, text)
    require_key()
    assert key_ids()[0] in text


def test_plain_key_may_be_wrapped_as_it_is(
    arn: str, site: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a word to whoever believes that this makes anybody forget it."""
    use_keys(site, make_key(), *wrap(arn))
    before = key_ids()

    texts = wrap(arn, "rewrap_keys", site="www.example.org")

    assert f"The key {before[0]} was in plain text" in capsys.readouterr().err
    use_keys(site, *texts, ENCRYPTION_SITE="www.example.org")
    assert key_ids() == before
    require_key()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("site", "responded with InvalidCiphertextException"),
        ("id", "responded with InvalidCiphertextException"),
        ("text", "responded with InvalidCiphertextException"),
        ("key", "responded with AccessDeniedException"),  # AWS itself: IncorrectKeyException.
    ],
)
def test_key_that_was_wrapped_otherwise_stays_wrapped(
    arn: str, site: Settings, change: str, said: str
) -> None:
    """For another site, under another id, tampered with, or with another key."""
    [text] = wrap(arn)
    [key_id, wrapped] = text.split(":")[-2:]
    if change == "key":
        arn = str(make_client().create_key()["KeyMetadata"]["Arn"])
    if change == "id":
        key_id = "AAAAAAAA"
    if change == "text":
        wrapped = wrapped[:-9]
    use_keys(
        site,
        f"aws-kms:{arn}:{key_id}:{wrapped}",
        ENCRYPTION_SITE="staging.example.com" if change == "site" else "www.example.com",
    )

    with pytest.raises(KeyServiceError, match=said):
        require_key()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: refuse("AccessDeniedException"), "kms:Decrypt"),
        (lambda: refuse("com.amazonaws.kms#IncorrectKeyException"), "wrapped with a different key"),
        (lambda: refuse("NotFoundException"), "Correct the name of the key"),
        (lambda: refuse("DisabledException"), "Enable the key"),
        (lambda: refuse("UnrecognizedClientException"), "credentials"),
        (lambda: refuse("ThrottlingException"), "responded with ThrottlingException"),
        (lambda: refuse("KMSInternalException", 500), "responded with KMSInternalException"),
        (lambda: Response("<html>hush-hush</html>", 502), "responded with 502"),
        (lambda: Response("<html>hush-hush</html>"), "fails with"),
        (lambda: Response("{}"), "fails with KeyError"),
        (lambda: Response("[]"), "fails with"),
        (lambda: Response('{"Plaintext": "***"}'), "fails with"),
    ],
)
def test_refusal_says_what_to_do(site: Settings, stand_in: StandIn, answer: Any, said: str) -> None:
    """In our words; the service is asked once for all of them."""
    use_keys(site, make_up("aws-kms", ARN))
    stand_in.answer = answer
    for _ in range(3):
        with pytest.raises(KeyServiceError) as caught:
            require_key()
        assert said in str(caught.value)
        assert "hush" not in str(caught.value)
    assert stand_in.asked == 1


@pytest.mark.parametrize(
    ("arn_of_answer", "said"),
    [(ARN, "which returned another key"), (f"{ARN}d", "used a different key from the one")],
)
def test_answer_with_a_key_of_somebody_elses_is_refused(
    site: Settings, stand_in: StandIn, arn_of_answer: str, said: str
) -> None:
    """Whoever sits in between has no key that has the id."""
    use_keys(site, make_up("aws-kms", ARN))
    plaintext = b64encode(b"x" * 32).decode()
    stand_in.answer = lambda: Response(json.dumps({"KeyId": arn_of_answer, "Plaintext": plaintext}))

    with pytest.raises(KeyServiceError, match=said):
        require_key()


def test_herd_asks_once(site: Settings, stand_in: StandIn) -> None:
    """All threads of a process that has just started, while the service is away."""
    use_keys(site, make_up("aws-kms", ARN))
    stand_in.answer = lambda: refuse("KMSInternalException", 500)

    def use() -> str:
        with pytest.raises(KeyServiceError) as caught:
            require_key()
        return str(caught.value)

    assert len(set(at_once(*[use] * 16))) == 1
    assert stand_in.asked == 1


def test_slow_service_is_given_up(
    arn: str, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After HTTP_TIMEOUT; and after five seconds it is well again."""
    [text] = wrap(arn)
    use_keys(site, text, HTTP_TIMEOUT=0.2)
    with monkeypatch.context() as patch, served(hang) as url:
        lead_to(url, patch)
        with pytest.raises(KeyServiceError, match=r"did not respond within 0.2 seconds"):
            require_key()
        assert is_asked.wait(20)
        is_over.set()
    use_keys(site, text, HTTP_TIMEOUT=20)
    with travel(seconds=6):
        with suppress(KeyServiceError):
            require_key()  # The late answer, if it has just come.
        with travel(seconds=6):
            require_key()


is_asked, is_over = Event(), Event()


@Request.application
def hang(request: Request) -> Response:
    """Answer when nobody waits any more."""
    is_asked.set()
    is_over.wait(10)
    return refuse("KMSInternalException", 500)


def test_service_that_is_not_there_is_told(
    arn: str, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens; a process that has its key does not notice."""
    warm, cold = wrap(arn) + wrap(arn)
    use_keys(site, warm)
    require_key()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")

    require_key()
    use_keys(site, cold)
    with pytest.raises(KeyServiceError, match=r"fails with EndpointConnectionError"):
        require_key()


def test_machine_without_credentials_is_told(
    aws: str, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command as well: first of the region, which an alias does not have."""
    with pytest.raises(CommandError, match=r"has no region. Name the key by its ARN"):
        wrap("alias/google-link")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")

    with pytest.raises(CommandError, match=r"has no credentials. Give this process credentials"):
        wrap("alias/google-link")


def test_key_is_not_logged(arn: str, site: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """boto3 logs at DEBUG what it sends and gets."""
    caplog.set_level(logging.DEBUG)
    plain = make_key()
    use_keys(site, plain)

    [text] = wrap(arn, "rewrap_keys")
    use_keys(site, text)
    require_key()

    logged = str([vars(record) for record in caplog.records])
    assert "botocore" in logged
    assert "plaintext" not in logged.lower()
    for form in (plain, b64encode(urlsafe_b64decode(plain)).decode()):
        assert form not in logged


@pytest.mark.django_db
@pytest.mark.usefixtures("shared_database")
def test_rotation_to_a_wrapped_key_and_back(arn: str, site: Settings) -> None:
    """By the command, while nothing else has to be done."""
    [plain], [wrapped] = site.GOOGLE_LINK["ENCRYPTION_KEYS"], wrap(arn)
    account = make_google_account(new_user(), refresh_token="1//anna")
    for newest, other in ((wrapped, plain), (plain, wrapped)):
        use_keys(site, newest, other)
        call_command("google_link_rotate_keys", verbosity=0)
        use_keys(site, newest)

        account.refresh_from_db()
        assert account.unseal_token("refresh_token") == Secret("1//anna")


class Store:
    """Where the site keeps its keys."""

    keys: list[str]


def read_store() -> list[str]:
    """Return them."""
    return Store.keys


def test_new_key_is_picked_up_without_a_restart(arn: str, site: Settings) -> None:
    """By a worker that meets a token which another one has sealed with it."""
    forget_key_functions()
    Store.keys = wrap(arn)
    binding = Binding(purpose="p", row_id="1", owner="1", sub="1", issuer="i", client_id="c")
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "ENCRYPTION_KEYS": f"{__name__}.read_store"}
    require_key()
    worker = site.GOOGLE_LINK
    Store.keys = [*wrap(arn), *Store.keys]
    use_keys(site, *Store.keys)
    sealed = seal(Secret("token"), binding)
    site.GOOGLE_LINK = worker

    with travel(seconds=6):
        assert unseal(sealed, binding) == Secret("token")
