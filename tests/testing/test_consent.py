"""The consent page, and what comes back from it."""

from __future__ import annotations

import pytest

from django_google_link.testing import FakeGoogleError
from django_google_link.testing.browser.html_form import parse_page
from tests.testing.app import CALENDAR, DRIVE, EMAIL, PROFILE, REDIRECT_URI, params_of


def submit(app, page, **form):
    """Send the consent page's form."""
    data = {**dict(parse_page(page.text).hidden), **form}
    url = f"{app.google.url}/o/oauth2/v2/auth/consent"
    return app.http.post(url, data=data, allow_redirects=False)


def test_allow(app, alice):
    """Allow sends the browser back with state, code and scope, and no iss."""
    location = app.google.consent(app.authorization_url())

    params = params_of(location)
    assert location.startswith(f"{REDIRECT_URI}?state=")
    assert params.pop("code").startswith("4/0A")
    assert params == {
        "state": "a state",
        "scope": CALENDAR,
        "authuser": "0",
        "prompt": "consent",
    }


def test_cancel(app, alice):
    """Cancel sends the browser back with access_denied, and grants nothing."""
    location = app.google.consent(app.authorization_url(), deny=True)

    assert params_of(location) == {"state": "a state", "error": "access_denied"}
    assert app.google.granted_scopes(alice) is None


def test_no_state(app, alice):
    """A request without state gets none back."""
    location = app.google.consent(app.authorization_url(state=None))

    assert "state" not in params_of(location)


def test_redirect_uri_with_a_query(google, app, alice):
    """The registered address keeps its own parameters."""
    google.client.redirect_uris.append("http://app.example/?tenant=7")

    location = google.consent(app.authorization_url(redirect_uri="http://app.example/?tenant=7"))

    assert location.startswith("http://app.example/?tenant=7&state=a%20state&code=")


@pytest.mark.matrix
@pytest.mark.parametrize("deny", [True, False])
def test_sends_iss(google, app, alice, deny):
    """When told to, the response names its issuer (RFC 9207), errors included."""
    google.sends_iss = True

    location = google.consent(app.authorization_url(), deny=deny)

    assert params_of(location)["iss"] == google.url


def test_hosted_domain_comes_back(google, app):
    """The answer for a Workspace account tells its domain."""
    google.add_user("bob@corp.example", hosted_domain="corp.example")

    location = google.consent(app.authorization_url())

    assert params_of(location)["hd"] == "corp.example"


def test_some_scopes(app, alice):
    """The user may untick scopes; the answer says which ones were granted."""
    url = app.authorization_url(scope=f"openid {CALENDAR} {DRIVE}")

    location = app.google.consent(url, grant=[DRIVE])

    assert params_of(location)["scope"] == f"openid {DRIVE}"
    assert app.google.granted_scopes(alice) == {"openid", DRIVE}


def test_every_scope_by_name(app, alice):
    """To leave all the scopes ticked one may name them too."""
    url = app.authorization_url(scope=f"{CALENDAR} {DRIVE}")

    location = app.google.consent(url, grant=[DRIVE, CALENDAR])

    assert params_of(location)["scope"] == f"{CALENDAR} {DRIVE}"


def test_identity_scopes_stay(app, alice):
    """Signing in cannot be unticked."""
    url = app.authorization_url(scope=f"openid email profile {CALENDAR}")

    location = app.google.consent(url, grant=[])

    assert params_of(location)["scope"] == f"openid {EMAIL} {PROFILE}"


def test_no_scope_is_a_denial(app, alice):
    """To allow nothing at all is to deny."""
    location = app.google.consent(app.authorization_url(), grant=[])

    assert params_of(location)["error"] == "access_denied"


def test_scopes_that_were_not_asked(app, alice):
    """A form with more scopes than the page offered gets no more than that."""
    page = app.open()

    response = submit(app, page, decision="allow", account=alice.sub, scope=[CALENDAR, DRIVE])

    assert params_of(response.headers["Location"])["scope"] == CALENDAR


def test_deny(app, alice):
    """deny() presses Cancel once."""
    app.google.deny()

    first = app.google.consent(app.authorization_url())
    second = app.google.consent(app.authorization_url())

    assert "error" in params_of(first)
    assert "code" in params_of(second)


def test_grant_only(app, alice):
    """grant_only() leaves these scopes ticked, once."""
    url = app.authorization_url(scope=f"{CALENDAR} {DRIVE}", prompt="consent")
    app.google.grant_only(CALENDAR)

    first = app.google.consent(url)
    second = app.google.consent(url)

    assert params_of(first)["scope"] == CALENDAR
    assert params_of(second)["scope"] == f"{CALENDAR} {DRIVE}"


def test_page_lists_every_scope(app, alice):
    """Every scope has a ticked box; those of signing in cannot be changed."""
    page = app.open(scope=f"openid email {CALENDAR}")

    assert parse_page(page.text).checkboxes == [CALENDAR]
    assert "openid (always included)" in parse_page(page.text).text
    assert f"{EMAIL} (always included)" in parse_page(page.text).text


def test_page_names_the_client(app, alice):
    """The page says who is asking, and where the user will go."""
    page = app.open()

    text = parse_page(page.text).text
    assert app.client.client_id in text
    assert REDIRECT_URI in text
    assert "Alice Doe alice@example.com" in text


def test_page_escapes(app, google):
    """Names are text, whatever they contain."""
    google.add_user("eve@example.com", name="<script>alert(1)</script>")

    page = app.open()

    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


def test_page_has_nothing_inline(app, alice):
    """The page lives under a strict policy, and with the fake's own style sheet."""
    page = app.open()
    style = app.http.get(f"{app.google.url}/fake-google.css")

    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sel")
    assert "no-store" in page.headers["Cache-Control"]
    assert 'href="/fake-google.css"' in page.text
    assert style.headers["Content-Type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in style.text


def test_several_accounts_and_no_choice(app, alice):
    """With several accounts none is preselected, so one has to be named."""
    app.google.add_user("bob@example.com")

    with pytest.raises(FakeGoogleError, match="No account is preselected"):
        app.google.consent(app.authorization_url())


def test_several_accounts_and_a_choice(app, alice):
    """The named account is the one that grants."""
    bob = app.google.add_user("bob@example.com")

    app.google.consent(app.authorization_url(), user=bob)

    assert app.google.granted_scopes(bob) == {CALENDAR}
    assert app.google.granted_scopes(alice) is None


@pytest.mark.matrix
@pytest.mark.parametrize("hint", ["bob@example.com", "BOB@example.com", "1234"])
def test_hint_preselects(app, alice, hint):
    """A login_hint preselects the account, by e-mail address or sub."""
    bob = app.google.add_user("bob@example.com", sub="1234")

    app.google.consent(app.authorization_url(login_hint=hint))

    assert app.google.granted_scopes(bob) == {CALENDAR}


def test_hint_is_only_a_hint(app, alice):
    """The user may choose another account than the one hinted at."""
    bob = app.google.add_user("bob@example.com")

    app.google.consent(app.authorization_url(login_hint=bob.sub), user=alice)

    assert app.google.granted_scopes(alice) == {CALENDAR}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("hd", "shown"),
    [
        (None, {"alice", "bob", "carol"}),
        ("*", {"bob", "carol"}),
        ("corp.example", {"bob"}),
        ("nowhere.example", set()),
    ],
)
def test_hd_limits_the_accounts(app, alice, hd, shown):
    """Only accounts of the hosted domain are offered; the star is any Workspace domain."""
    accounts = {
        "alice": alice,
        "bob": app.google.add_user("bob@corp.example", hosted_domain="corp.example"),
        "carol": app.google.add_user("carol@other.example", hosted_domain="other.example"),
    }

    page = app.open(hd=hd)

    assert parse_page(page.text).radios == [accounts[name].sub for name in sorted(shown)]
    assert (">Allow<" in page.text) is bool(shown)


def test_account_outside_of_hd(app, alice):
    """An account that the page does not offer cannot be chosen, by hint or by hand."""
    app.google.add_user("bob@corp.example", hosted_domain="corp.example")
    url = app.authorization_url(hd="corp.example", login_hint=alice.sub)

    response = submit(app, app.http.get(url), decision="allow", account=alice.sub, scope=CALENDAR)

    assert response.status_code == 400
    assert "No account was chosen." in response.text
    with pytest.raises(FakeGoogleError, match=r"does not offer the account alice@example\.com"):
        app.google.consent(url, user=alice)


def test_scope_that_the_page_does_not_offer(app, alice):
    """A test that grants what was not asked is wrong, and is told so."""
    with pytest.raises(FakeGoogleError, match=f"does not offer these scopes: {DRIVE}"):
        app.google.consent(app.authorization_url(), grant=[DRIVE, CALENDAR, "email"])


def test_scopes_as_a_string(app, alice):
    """A string of scopes does not fall apart into letters."""
    with pytest.raises(TypeError, match="Pass a list of scopes"):
        app.google.consent(app.authorization_url(), grant=CALENDAR)


def test_page_works_once(app, alice):
    """A page that was answered cannot be answered again."""
    page = app.open()
    submit(app, page, decision="cancel")

    response = submit(app, page, decision="allow", account=alice.sub, scope=CALENDAR)

    assert response.status_code == 400
    assert "This page has expired." in response.text
    assert app.google.granted_scopes(alice) is None


def test_page_expires(app, alice, clock):
    """A page that lay about for ten minutes cannot be answered any more."""
    app.google.now = clock
    page, other = app.open(), app.open()

    clock.time += 599
    in_time = submit(app, page, decision="cancel")
    clock.time += 1
    late = submit(app, other, decision="cancel")

    assert in_time.status_code == 302
    assert late.status_code == 400


def test_form_without_a_ticket(app, alice):
    """A form made up by somebody else does nothing."""
    url = f"{app.google.url}/o/oauth2/v2/auth/consent"

    response = app.http.post(url, data={"decision": "allow", "account": alice.sub})

    assert response.status_code == 400


def test_foreign_url(app, alice):
    """consent() goes nowhere but to its own fake, and surely not to the real Google."""
    with pytest.raises(FakeGoogleError, match="not a URL of this FakeGoogle"):
        app.google.consent("https://accounts.google.com/o/oauth2/v2/auth?client_id=x")


def test_proxy_of_the_environment(app, alice, monkeypatch):
    """consent() reaches the fake whatever proxy the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert "code" in params_of(app.google.consent(app.authorization_url()))


def test_failure_after_the_page(app, alice):
    """An error that follows the form is shown as an error too."""
    app.google.fail_next(endpoint="consent", body="<form action='/'>Come back later</form>")

    with pytest.raises(FakeGoogleError, match="Come back later"):
        app.google.consent(app.authorization_url())


@pytest.mark.matrix
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("body", ["<p>Come back later</p>", "Come back later"])
def test_failure_before_the_page(app, alice, status, body):
    """An error in place of the page is shown, whatever its status and form."""
    app.google.fail_next(endpoint="authorize", status=status, body=body)

    with pytest.raises(FakeGoogleError, match=r"^Come back later$"):
        app.google.consent(app.authorization_url())


def test_only_what_browsers_send_is_read():
    """Inputs that a browser would not send, and unknown ones, are no part of the form."""
    html = "<form><input><input type=checkbox value=a><input type=checkbox value=b checked>"

    page = parse_page(html)

    assert (page.action, page.hidden, page.checkboxes) == ("", [], ["b"])
