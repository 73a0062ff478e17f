"""Keys are masked wherever a message holds them, and nothing else is."""

import base64
import json
import time
from urllib.parse import quote

import pytest

from omniopd import redaction
from omniopd.redaction import MASK, holds_key, redacted

KEY = "sk-planted/0123456789+abcdef"
SHORT = "pass/5word"


@pytest.fixture(autouse=True)
def _only_these_keys(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"_known": set(), "_forms": None, "_long_forms": None}.items():
        monkeypatch.setattr(redaction, name, value)
    monkeypatch.setattr(redaction, "_install", lambda: None)
    redaction.protect(KEY, SHORT)


FORMS = {
    "as it is": KEY,
    "URL-encoded": quote(KEY, safe=""),
    "URL-encoded in lower case": quote(KEY, safe="").lower(),
    "in JSON with its slash escaped": json.dumps(KEY).replace("/", "\\/"),
    "in base64": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "its beginning": KEY[:14] + "…",
    "its end": "…" + KEY[-14:],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_key_is_masked_in_each_form_and_known_in_a_reply(form: str):
    masked = redacted(f"you sent {form} here")
    assert MASK in masked
    assert masked.startswith("you sent ")
    assert masked.endswith(" here")
    assert not any(part in masked for part in (KEY[:12], KEY[-12:], form))
    assert holds_key(f"a reply {form}")


def test_a_short_key_is_masked_and_forbids_no_reply():
    assert redacted(f"it is {SHORT}!") == f"it is {MASK}!"
    assert not holds_key(f"it is {SHORT}!")


CREDENTIALS = {
    "Authorization: Bearer abcdef0123456789": f"Authorization: Bearer {MASK}",
    "authorization: basic dXNlcjpwYXNzd29yZA==": f"authorization: basic {MASK}",
    "Basic dXNlcjpwYXNzd29yZA, then": f"Basic {MASK}, then",
    "see https://user:password@host/path": f"see https://{MASK}@host/path",
}


@pytest.mark.parametrize(("text", "masked"), CREDENTIALS.items())
def test_credentials_are_masked_where_they_are_known_by_their_place(text: str, masked: str):
    assert redacted(text) == masked


ORDINARY = [
    "basic authentication is required, with Basic auth for 12345 users",
    "the basic requirements2024and2025 hold; basic internationalization2",
    "basic 8f14e45fceea167a5a36dedd4bea2543",
    "basic T3V0cHV0IG9mIGEgcnVu",
    "the bearer of good news, Bearer authentication, Bearer tokens",
    "commit 8cc3fb7d0aa1b2c3d4e5f60718293a4b5c6d7e8f",
    "sha256 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "http://127.0.0.1:8000/v1 and http://[::1]:8000/a@b and sqlite:////tmp/a:b/teacher.sqlite",
    "planted 0123456789 abcdef",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str):
    assert redacted(text) == text


@pytest.mark.parametrize("unit", ["a", "bearer ", "basic ", "://", "://a:", KEY[:12], '"', "basic aaaaaaaa "])
def test_the_time_is_linear_in_the_length(unit: str):
    """A megabyte takes about 0.3 s; quadratic, a quarter of one would take minutes."""
    began = time.process_time()
    redacted("basic bearer ://" + unit * (2**18 // len(unit)))
    assert time.process_time() - began < 5
