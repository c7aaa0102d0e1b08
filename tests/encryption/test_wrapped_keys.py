"""Keys that a key service has wrapped: asked once, late, and with patience for its absence."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from django_google_link.conf.settings import forget_key_functions
from django_google_link.encryption.format import Binding, key_id_of
from django_google_link.encryption.keyring import (
    key_ids,
    list_digests,
    make_key,
    read_key,
    require_key,
    seal,
    unseal,
)
from django_google_link.exceptions import (
    EncryptionKeyUnavailableError,
    KeyServiceError,
    SettingsError,
    TokenUndecryptableError,
)
from django_google_link.secret import Secret
from django_google_link.testing import travel
from tests.support.databases import at_once
from tests.support.key_services import HUSH, Safe, use_keys, wrap

pytestmark = pytest.mark.usefixtures("key_service")

BINDING = Binding(purpose="p", row_id="1", owner="1", sub="1", issuer="i", client_id="c")


def use_token() -> str:
    """Seal a token and open it."""
    return unseal(seal(Secret("token"), BINDING), BINDING).reveal()


def count_problems(count: int) -> list[str]:
    """Use a token in so many threads at once, and return what each was told."""

    def use() -> str:
        try:
            return use_token()
        except KeyServiceError as error:
            return str(error)

    return at_once(*[use] * count)


# One call


def test_wrapped_key_is_the_key_that_was_wrapped(settings: Settings) -> None:
    """What a plain key has sealed it opens, and the other way round."""
    plain = make_key()
    use_keys(settings, plain)
    sealed = seal(Secret("token"), BINDING)

    use_keys(settings, f" {wrap(plain)}\n")

    assert key_ids() == (key_id_of(sealed),)
    assert unseal(sealed, BINDING).reveal() == "token"


def test_service_is_asked_once_for_all_tokens_and_threads(settings: Settings) -> None:
    """And not for what is known without: the ids of the keys."""
    use_keys(settings, wrap(), wrap())
    first, _second = key_ids()
    assert Safe.asked == []

    assert count_problems(16) == ["token"] * 16
    assert use_token() == "token"
    assert Safe.asked == [first]


def test_key_is_unwrapped_when_it_has_to_decrypt(settings: Settings) -> None:
    """One that is not needed any more may be gone from its service."""
    old = wrap()
    use_keys(settings, old)
    sealed = seal(Secret("token"), BINDING)
    use_keys(settings, wrap(), wrap(), old)
    Safe.asked.clear()

    assert use_token() == "token"
    assert unseal(sealed, BINDING).reveal() == "token"
    assert Safe.asked == [key_ids()[0]]  # The old one was unwrapped before.
    assert len(list_digests("refresh_token.prefix", b"1//0g")) == 3
    assert len(Safe.asked) == 2


# Away


def test_service_that_is_away_is_left_alone_for_five_seconds(settings: Settings) -> None:
    """However many ask: and then the same process goes on as if nothing had been."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError(HUSH)

    problems = count_problems(16) + count_problems(1)
    assert set(problems) == {
        f"The encryption key {key_ids()[0]} is not unwrapped by safe, which fails with "
        "ConnectionError. See what it needs; it is asked again at the next use."
    }
    assert len(Safe.asked) == 1
    Safe.failure = None
    with travel(seconds=4), pytest.raises(KeyServiceError):
        require_key()
    with travel(seconds=6):
        assert use_token() == "token"
    assert len(Safe.asked) == 2


def test_failure_is_forgotten_when_the_clock_is_put_back(settings: Settings) -> None:
    """Otherwise the site would wait for an hour that has been before."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError()
    with travel(hours=1), pytest.raises(KeyServiceError):
        require_key()
    Safe.failure = None

    assert use_token() == "token"


def test_service_that_goes_away_later_harms_no_warm_process(settings: Settings) -> None:
    """What was unwrapped is kept."""
    use_keys(settings, wrap())
    assert use_token() == "token"
    Safe.failure = ConnectionError()

    with travel(days=30):
        assert use_token() == "token"


def test_failing_key_leaves_the_others_alone(settings: Settings) -> None:
    """Each is asked for by itself."""
    old = wrap()
    use_keys(settings, old)
    sealed = seal(Secret("token"), BINDING)
    use_keys(settings, wrap(), old)
    Safe.failure = ConnectionError()

    assert unseal(sealed, BINDING).reveal() == "token"
    with pytest.raises(KeyServiceError):
        seal(Secret("token"), BINDING)


def test_slow_service_is_waited_for_as_long_as_the_settings_say(settings: Settings) -> None:
    """By those who came first; its late answer is taken, and not asked for again."""
    use_keys(settings, wrap(), HTTP_TIMEOUT=0.1)
    Safe.is_open.clear()

    assert all("did not respond within 0.1 seconds" in text for text in count_problems(4))
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 60}
    with pytest.raises(KeyServiceError):
        require_key()  # At once: it was waited for a moment ago.
    Safe.is_open.set()
    with travel(seconds=6):
        assert use_token() == "token"
    assert len(Safe.asked) == 1


@pytest.mark.slow
def test_call_that_never_returns_is_made_again(settings: Settings) -> None:
    """After a minute: a restart is not needed."""
    use_keys(settings, wrap(), HTTP_TIMEOUT=0.1)
    Safe.is_open.clear()
    with pytest.raises(KeyServiceError):
        require_key()
    with travel(seconds=30), pytest.raises(KeyServiceError):
        require_key()
    assert len(Safe.asked) == 1

    with travel(seconds=61):
        with pytest.raises(KeyServiceError):
            require_key()
        assert len(Safe.asked) == 2


class Quitting(Safe):
    """Ends the thread that asks it."""

    def unwrap(self, *args: Any, **kwargs: Any) -> bytes:
        """End it."""
        raise SystemExit


class Unmade(Safe):
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError(HUSH)


class Inarticulate(Safe):
    """Cannot say what is wrong."""

    def explain(self, error: Exception) -> tuple[str, str]:
        """Fail as well."""
        raise RuntimeError(HUSH)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Quitting", "which fails with SystemExit."),
        ("Unmade", "The key service 'safe' fails with RuntimeError."),
        ("Inarticulate", "which fails with ConnectionError."),
        ("Missing", "cannot be imported from"),
    ],
)
def test_service_that_is_no_good_is_told(settings: Settings, kind: str, said: str) -> None:
    """As one that is away, without a word of its own."""
    use_keys(settings, wrap(), KEY_SERVICES={"safe": f"{__name__}.{kind}"})
    Safe.failure = ConnectionError(HUSH)

    with pytest.raises(KeyServiceError, match=said) as caught:
        require_key()

    assert HUSH not in str(caught.value)


# What is bound, and checked


@pytest.mark.parametrize(
    ("site", "change"),
    [
        ("there", str),
        ("here", lambda text: text.replace(":one:", ":two:")),
        ("here", lambda text: text[:-4] + "AAAA"),
    ],
    ids=["another site", "another key of the service", "damaged"],
)
def test_key_that_was_wrapped_otherwise_stays_wrapped(
    settings: Settings, site: str, change: Callable[[str], str]
) -> None:
    """What the site has told the service when it was wrapped has to be told again."""
    use_keys(settings, change(wrap()), ENCRYPTION_SITE=site)

    with pytest.raises(KeyServiceError, match="which fails with InvalidTag"):
        require_key()


def test_key_under_the_id_of_another_stays_wrapped(settings: Settings) -> None:
    """Whoever exchanges what is wrapped does not exchange the key."""
    one, other = wrap(), wrap()
    use_keys(settings, ":".join([*one.split(":")[:3], other.split(":")[3]]))

    with pytest.raises(KeyServiceError, match="which fails with InvalidTag"):
        require_key()


@pytest.mark.parametrize("answer", [b"", b"short", b"x" * 32, "text", None.__class__, b"x" * 33])
def test_answer_that_is_not_the_key_is_refused(settings: Settings, answer: Any) -> None:
    """A service that binds nothing is checked all the same."""
    use_keys(settings, wrap())
    Safe.answer = answer

    with pytest.raises(KeyServiceError, match="which gives another key"):
        require_key()


def test_wrapped_key_of_another_site_is_unwrapped_by_that_site(settings: Settings) -> None:
    """Two sites of one process share no key, and no failure."""
    text = wrap()
    use_keys(settings, text, ENCRYPTION_SITE="there")
    with pytest.raises(KeyServiceError):
        require_key()

    use_keys(settings, text, ENCRYPTION_SITE="here")

    assert use_token() == "token"
    use_keys(settings, text, ENCRYPTION_SITE="there")
    with pytest.raises(KeyServiceError):
        require_key()


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("safe:one", "E004"),
        ("safe:one:short:AAAA", "E004"),
        ("safe:one:AAAAAAAA:AAAA A", "E004"),
        ("safe:one:AAAAAAAA:AAAAA", "E004"),
        ("safe:one:AAAAAAAA:", "E004"),
        ("safe::AAAAAAAA:AAAA", "E004"),
        ("vault:one:AAAAAAAA:AAAA", "E071"),
        ("'safe:one:AAAAAAAA:AAAA'", "E004"),
        ("SAFE:one:AAAAAAAA:AAAA", "E004"),
    ],
)
def test_text_that_is_no_wrapped_key_is_refused(settings: Settings, text: str, id: str) -> None:
    """It is never taken for a plain one."""
    use_keys(settings, text)

    with pytest.raises(SettingsError) as caught:
        key_ids()

    assert caught.value.id == id
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "id"),
    [
        ({"ENCRYPTION_SITE": None}, "E070"),
        ({"ENCRYPTION_SITE": ""}, "E070"),
        ({"ENCRYPTION_SITE": 5}, "E070"),
        ({"ENCRYPTION_SITE": "a b"}, "E070"),
        ({"ENCRYPTION_SITE": "a" * 101}, "E070"),
        ({"KEY_SERVICES": None}, "E071"),
        ({"KEY_SERVICES": []}, "E071"),
        ({"KEY_SERVICES": {"safe": Safe}}, "E071"),
        ({"KEY_SERVICES": {"Safe": "a.b"}}, "E071"),
        ({"KEY_SERVICES": {5: "a.b"}}, "E071"),
        ({"KEY_SERVICES": {"safe": "b"}}, "E071"),
    ],
)
def test_settings_of_wrapped_keys_that_cannot_work_are_refused(
    settings: Settings, changes: dict[str, Any], id: str
) -> None:
    """The site above all: without it two sites' keys would be alike."""
    use_keys(settings, wrap(), **changes)

    with pytest.raises(SettingsError) as caught:
        key_ids()

    assert caught.value.id == id


# Seen by nobody


def test_nothing_shows_a_wrapped_key(settings: Settings) -> None:
    """Neither what it is made of nor the key, to whoever prints, copies or reports it."""
    plain = make_key()
    text = wrap(plain)
    settings.DEBUG = True
    use_keys(settings, text)
    use_token()
    wrapped = read_key(Secret(text))
    opened = wrapped.load()  # type: ignore[union-attr]

    for shown in (repr(wrapped), repr(opened), str(opened)):
        assert plain not in shown
        assert text.rpartition(":")[2] not in shown
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(opened)


@pytest.mark.parametrize("answer", [b"0123456789abcdef0123456789abcdef", b"0123456789abcdef"])
def test_error_reports_show_nothing_of_what_was_unwrapped(
    settings: Settings, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With Django's debug page, which shows the variables of every frame."""
    settings.DEBUG = True
    use_keys(settings, wrap())
    Safe.answer = answer

    with pytest.raises(KeyServiceError) as caught:
        require_key()

    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    assert error.__traceback__
    reporter = ExceptionReporter(None, type(error), error, error.__traceback__.tb_next)
    report = str(reporter.get_traceback_data()["frames"]) + str(error) + caplog.text
    assert answer.decode() not in report
    assert "An encryption key is not available" in caplog.text


# A function that returns the keys


class Store:
    """Where a site keeps its keys."""

    keys: list[str]
    reads: int
    failure: Exception | None


def read_store() -> list[str]:
    """Return the keys, as a site may read them from where it keeps them."""
    Store.reads += 1
    if Store.failure:
        raise Store.failure
    return Store.keys


@pytest.fixture
def store(settings: Settings) -> type[Store]:
    """Keys that come from a function."""
    forget_key_functions()
    Store.keys, Store.reads, Store.failure = [wrap(), make_key()], 0, None
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": f"{__name__}.read_store"}
    return Store


def seal_elsewhere(settings: Settings, *keys: str) -> str:
    """Return a token that another worker has sealed, which knows these keys."""
    before = settings.GOOGLE_LINK
    use_keys(settings, *keys)
    sealed = seal(Secret("token"), BINDING)
    settings.GOOGLE_LINK = before
    return sealed


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_new_key_is_picked_up_by_a_running_worker(
    settings: Settings, store: type[Store], is_wrapped: bool
) -> None:
    """As soon as it meets a token that another one has sealed; from then on it seals with it."""
    assert use_token() == "token"
    new = wrap() if is_wrapped else make_key()
    store.keys = [new, *store.keys]
    sealed = seal_elsewhere(settings, new)

    with travel(seconds=6):
        assert unseal(sealed, BINDING).reveal() == "token"
        assert key_id_of(seal(Secret("token"), BINDING)) == key_id_of(sealed)
    assert store.reads == 2


def test_keys_are_read_again_at_a_limited_rate(settings: Settings, store: type[Store]) -> None:
    """Whoever writes rows with made-up ids makes nobody ask for them each time."""
    sealed = seal_elsewhere(settings, make_key())
    for _ in range(5):
        with pytest.raises(EncryptionKeyUnavailableError, match="not configured"):
            unseal(sealed, BINDING)
    assert store.reads == 1
    with travel(seconds=6):
        for _ in range(5):
            with pytest.raises(EncryptionKeyUnavailableError, match="not configured"):
                unseal(sealed, BINDING)
    assert store.reads == 2


def test_reading_again_that_fails_takes_no_key_away(settings: Settings, store: type[Store]) -> None:
    """The token that nobody can open now says so, and all others are opened."""
    own = seal(Secret("own"), BINDING)
    sealed = seal_elsewhere(settings, make_key())
    store.failure = ConnectionError(HUSH)

    with travel(seconds=6):
        with pytest.raises(KeyServiceError, match="fails with ConnectionError") as caught:
            unseal(sealed, BINDING)
        assert HUSH not in str(caught.value)
        assert unseal(own, BINDING).reveal() == "own"
        with pytest.raises(KeyServiceError):
            unseal(sealed, BINDING)
        assert store.reads == 2


def test_new_key_takes_over_when_it_can_be_unwrapped(
    settings: Settings, store: type[Store]
) -> None:
    """Until then the former one seals: somebody may be about to store what comes only once."""
    own = seal(Secret("own"), BINDING)
    new = wrap()
    store.keys = [new, *store.keys]
    sealed = seal_elsewhere(settings, wrap())
    Safe.failure = ConnectionError()

    with travel(seconds=6):
        with pytest.raises(KeyServiceError):
            unseal(sealed, BINDING)
        assert key_id_of(seal(Secret("token"), BINDING)) == key_id_of(own)
    Safe.failure = None
    with travel(seconds=12):
        with pytest.raises(EncryptionKeyUnavailableError, match="not configured"):
            unseal(sealed, BINDING)
        assert key_id_of(seal(Secret("token"), BINDING)) == new.split(":")[2]


@pytest.mark.parametrize("keys", [None, "text", [], [""], ["short"]])
def test_reading_again_what_is_no_key_changes_nothing(
    settings: Settings, store: type[Store], keys: Any
) -> None:
    """One bad deployment must not take the keys from workers that have them."""
    own = seal(Secret("own"), BINDING)
    sealed = seal_elsewhere(settings, make_key())
    store.keys = keys

    with travel(seconds=6):
        with pytest.raises(SettingsError):
            unseal(sealed, BINDING)
        assert unseal(own, BINDING).reveal() == "own"


def test_function_that_fails_is_called_again_after_five_seconds(store: type[Store]) -> None:
    """And not by every view until then."""
    store.failure = ConnectionError(HUSH)
    for _ in range(5):
        with pytest.raises(KeyServiceError, match="fails with ConnectionError"):
            use_token()
    assert store.reads == 1
    store.failure = None

    with travel(seconds=6):
        assert use_token() == "token"
    assert store.reads == 2


def test_tampered_token_is_no_reason_to_read_the_keys_again(store: type[Store]) -> None:
    """Its key is known."""
    sealed = seal(Secret("token"), BINDING)
    with travel(seconds=6), pytest.raises(TokenUndecryptableError):
        unseal(sealed[:-4] + "AAAA", BINDING)
    assert store.reads == 1
