"""Wrapped keys: unwrapped once, when needed, and with tolerance for an unavailable service."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from threading import Thread
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
    """Seal and unseal a token."""
    return unseal(seal(Secret("token"), BINDING), BINDING).reveal()


def count_problems(count: int) -> list[str]:
    """Use a token in this many threads at once; return the errors."""

    def use() -> str:
        try:
            return use_token()
        except KeyServiceError as error:
            return str(error)

    return at_once(*[use] * count)


# One call


def test_wrapped_key_is_the_key_that_was_wrapped(settings: Settings) -> None:
    """The plain and the wrapped key unseal each other's tokens."""
    plain = make_key()
    use_keys(settings, plain)
    sealed = seal(Secret("token"), BINDING)

    use_keys(settings, f" {wrap(plain)}\n")

    assert key_ids() == (key_id_of(sealed),)
    assert unseal(sealed, BINDING).reveal() == "token"


def test_service_is_asked_once_for_all_tokens_and_threads(settings: Settings) -> None:
    """The key ids are known without asking the service."""
    use_keys(settings, wrap(), wrap())
    first, _second = key_ids()
    assert Safe.asked == []

    assert count_problems(16) == ["token"] * 16
    assert use_token() == "token"
    assert Safe.asked == [first]


def test_key_is_unwrapped_when_it_has_to_decrypt(settings: Settings) -> None:
    """A key that is not needed may be missing from its service."""
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
    """It is not called again during that time; afterwards the process recovers."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError(HUSH)

    problems = count_problems(16) + count_problems(1)
    assert set(problems) == {
        f"The encryption key {key_ids()[0]} could not be unwrapped by safe, which fails "
        "with ConnectionError. Check the configuration of the key service; it is called again "
        "at the next use."
    }
    assert len(Safe.asked) == 1
    Safe.failure = None
    with travel(seconds=4), pytest.raises(KeyServiceError):
        require_key()
    with travel(seconds=6):
        assert use_token() == "token"
    assert len(Safe.asked) == 2


def test_failure_is_forgotten_when_the_clock_is_put_back(settings: Settings) -> None:
    """The process does not wait for the clock to catch up."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError()
    with travel(hours=1), pytest.raises(KeyServiceError):
        require_key()
    Safe.failure = None

    assert use_token() == "token"


def test_service_that_goes_away_later_harms_no_warm_process(settings: Settings) -> None:
    """Unwrapped keys are kept."""
    use_keys(settings, wrap())
    assert use_token() == "token"
    Safe.failure = ConnectionError()

    with travel(days=30):
        assert use_token() == "token"


def test_failing_key_leaves_the_others_alone(settings: Settings) -> None:
    """Keys are unwrapped independently."""
    old = wrap()
    use_keys(settings, old)
    sealed = seal(Secret("token"), BINDING)
    use_keys(settings, wrap(), old)
    Safe.failure = ConnectionError()

    assert unseal(sealed, BINDING).reveal() == "token"
    with pytest.raises(KeyServiceError):
        seal(Secret("token"), BINDING)


def test_service_that_no_thread_can_call(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a limit of the machine the error says so, and the next use tries again."""
    use_keys(settings, wrap())

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        with pytest.raises(KeyServiceError, match="no thread could be started"):
            require_key()
    assert use_token() == "token"


@pytest.mark.slow
def test_slow_service_is_waited_for_as_long_as_the_settings_say(settings: Settings) -> None:
    """The first callers wait; a late response is used, and not requested again."""
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
    """After a minute the call is repeated, without a restart."""
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
    """Ends the thread that calls it."""

    def unwrap(self, *args: Any, **kwargs: Any) -> bytes:
        """End it."""
        raise SystemExit


class Unmade(Safe):
    """Cannot be created."""

    def __init__(self) -> None:
        raise RuntimeError(HUSH)


class Inarticulate(Safe):
    """Cannot explain its errors."""

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
    """It is reported like an unavailable one, without its own message."""
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
    """The context of wrapping is required for unwrapping."""
    use_keys(settings, change(wrap()), ENCRYPTION_SITE=site)

    with pytest.raises(KeyServiceError, match="which fails with InvalidTag"):
        require_key()


def test_key_under_the_id_of_another_stays_wrapped(settings: Settings) -> None:
    """Exchanging the wrapped bytes of two keys is detected."""
    one, other = wrap(), wrap()
    use_keys(settings, ":".join([*one.split(":")[:3], other.split(":")[3]]))

    with pytest.raises(KeyServiceError, match="which fails with InvalidTag"):
        require_key()


@pytest.mark.parametrize("answer", [b"", b"short", b"x" * 32, "text", None.__class__, b"x" * 33])
def test_answer_that_is_not_the_key_is_refused(settings: Settings, answer: Any) -> None:
    """The result is checked even if the service does not bind the context."""
    use_keys(settings, wrap())
    Safe.answer = answer

    with pytest.raises(KeyServiceError, match="which returned another key"):
        require_key()


def test_wrapped_key_of_another_site_is_unwrapped_by_that_site(settings: Settings) -> None:
    """Sites in one process share neither keys nor failures."""
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
    """A malformed wrapped key is not taken for a plain one."""
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
    """Invalid settings are refused, above all a missing site."""
    use_keys(settings, wrap(), **changes)

    with pytest.raises(SettingsError) as caught:
        key_ids()

    assert caught.value.id == id


# Seen by nobody


def test_nothing_shows_a_wrapped_key(settings: Settings) -> None:
    """Printing, copying and error reports show neither the wrapped nor the bare key."""
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
    """Django's debug page, with all local variables, does not show the key."""
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
    """A store of a site's keys."""

    keys: list[str]
    reads: int
    failure: Exception | None


def read_store() -> list[str]:
    """Return the keys, as a function in the settings would."""
    Store.reads += 1
    if Store.failure:
        raise Store.failure
    return Store.keys


@pytest.fixture
def store(settings: Settings) -> type[Store]:
    """Keys returned by a function."""
    forget_key_functions()
    Store.keys, Store.reads, Store.failure = [wrap(), make_key()], 0, None
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": f"{__name__}.read_store"}
    return Store


def seal_elsewhere(settings: Settings, *keys: str) -> str:
    """Return a token sealed by another worker with these keys."""
    before = settings.GOOGLE_LINK
    use_keys(settings, *keys)
    sealed = seal(Secret("token"), BINDING)
    settings.GOOGLE_LINK = before
    return sealed


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_new_key_is_picked_up_by_a_running_worker(
    settings: Settings, store: type[Store], is_wrapped: bool
) -> None:
    """A token with an unknown key makes the worker read the keys again and use the new one."""
    assert use_token() == "token"
    new = wrap() if is_wrapped else make_key()
    store.keys = [new, *store.keys]
    sealed = seal_elsewhere(settings, new)

    with travel(seconds=6):
        assert unseal(sealed, BINDING).reveal() == "token"
        assert key_id_of(seal(Secret("token"), BINDING)) == key_id_of(sealed)
    assert store.reads == 2


def test_keys_are_read_again_at_a_limited_rate(settings: Settings, store: type[Store]) -> None:
    """Rows with invented key ids do not cause a call each time."""
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
    """Only the token with the unknown key fails."""
    own = seal(Secret("own"), BINDING)
    sealed = seal_elsewhere(settings, make_key())
    store.failure = ConnectionError(HUSH)

    with travel(seconds=6):
        with pytest.raises(KeyServiceError, match="raised ConnectionError") as caught:
            unseal(sealed, BINDING)
        assert HUSH not in str(caught.value)
        assert unseal(own, BINDING).reveal() == "own"
        with pytest.raises(KeyServiceError):
            unseal(sealed, BINDING)
        assert store.reads == 2


def test_new_key_takes_over_when_it_can_be_unwrapped(
    settings: Settings, store: type[Store]
) -> None:
    """Until then tokens are sealed with the previous key, so that none is lost."""
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
    """Invalid new settings do not take the keys from running workers."""
    own = seal(Secret("own"), BINDING)
    sealed = seal_elsewhere(settings, make_key())
    store.keys = keys

    with travel(seconds=6):
        with pytest.raises(SettingsError):
            unseal(sealed, BINDING)
        assert unseal(own, BINDING).reveal() == "own"


def test_function_that_fails_is_called_again_after_five_seconds(store: type[Store]) -> None:
    """It is not called by every view until then."""
    store.failure = ConnectionError(HUSH)
    for _ in range(5):
        with pytest.raises(KeyServiceError, match="raised ConnectionError"):
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
