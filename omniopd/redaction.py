"""Protected keys are masked in log records, warnings, error messages and printed lines."""

import base64
import html
import json
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from types import TracebackType
from urllib.parse import quote, quote_plus

MASK = "[key]"
SHORTEST = 6  # characters of a key that is masked; a shorter one would mask parts of words
PART = 12  # characters at the start or end of a long key that are masked on their own
LONG = 16  # characters of a key that does not occur in a text by chance
SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)S?$", re.IGNORECASE)
MIN_ENVIRONMENT_LEN = 8
# Credentials recognised by their position: after "Bearer", before the host of a URL, or after "Basic", where they must
# be user:password in base64: "basic requirements2024and2025" is prose.
CREDENTIALS = re.compile(
    r"(?i)(?<=\bbearer )(?=[^\s\"',]*\d)[\w.~+/=-]{8,}|(?<=\bbasic )(?P<basic>[\w+/-]{8,}={0,2})|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
)

_known: set[str] = set()
_forms: re.Pattern[str] | None = None
_long_forms: re.Pattern[str] | None = None  # of the keys of at least LONG characters


def protect(*keys: str | None) -> None:
    """Mask these keys from now on, except those shorter than SHORTEST."""
    global _forms, _long_forms
    new = {key for key in keys if key and len(key) >= SHORTEST} - _known
    if not new:
        return
    _known.update(new)
    _forms = _pattern(_known)
    _long_forms = _pattern({key for key in _known if len(key) >= LONG})
    _install()


def protect_environment() -> None:
    """Mask the values of all environment variables that are named like a secret."""
    values = [value for name, value in os.environ.items() if SECRET_NAME.search(name)]
    protect(*(value for value in values if len(value) >= MIN_ENVIRONMENT_LEN))


def redacted(text: str) -> str:
    """The text with each protected key masked, whether plain or URL-, JSON-, HTML- or base64-encoded."""
    text = CREDENTIALS.sub(_mask_of, text)
    return text if _forms is None else _forms.sub(MASK, text)


def holds_key(text: str) -> bool:
    """Whether a protected key of at least LONG characters is in the text."""
    return _long_forms is not None and _long_forms.search(text) is not None


def _mask_of(credential: re.Match[str]) -> str:
    """The mask, or the text itself if it only looks like a credential."""
    return credential[0] if credential["basic"] and not _is_basic(credential[0]) else MASK


def _is_basic(text: str) -> bool:
    """Whether a text is user:password, base64-encoded."""
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    try:
        decoded = base64.urlsafe_b64decode(padded.replace("+", "-").replace("/", "_")).decode()
    except ValueError:
        return False
    return ":" in decoded and decoded.isprintable()


def _pattern(keys: Iterable[str]) -> re.Pattern[str] | None:
    forms = sorted({form for key in keys for form in _forms_of(key)}, key=len, reverse=True)
    return re.compile("|".join(forms), re.IGNORECASE) if forms else None


def _forms_of(key: str) -> Iterator[str]:
    """Regular expressions for the forms of a key in a message."""
    plain = {
        key,
        json.dumps(key)[1:-1],
        json.dumps(key)[1:-1].replace("/", "\\/"),
        repr(key)[1:-1],
        quote(key, safe=""),
        quote_plus(key),
        html.escape(key),
    }
    yield from map(re.escape, plain)
    if len(key) >= LONG:
        yield re.escape(key[:PART]) + r"[\w.~+/=-]*"
        yield re.escape(key[-PART:])
    yield from map(re.escape, _base64_forms(key.encode(errors="surrogatepass")))


def _base64_forms(key: bytes) -> Iterator[str]:
    """The characters that do not depend on the text before and after the key."""
    for offset in range(3):
        start, num_bits = -(-8 * offset // 6), 8 * (offset + len(key))
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(b"\0" * offset + key).decode()[start : num_bits // 6]
            if len(form) >= SHORTEST:
                yield form


@cache
def _install() -> None:
    """Mask keys wherever Python prints or logs, from the first call on."""
    make = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *args, **kwargs: _cleaned(make(*args, **kwargs)))
    sys.excepthook = _print_exception
    format_warning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **kwargs: redacted(format_warning(*args, **kwargs))


def _cleaned(record: logging.LogRecord) -> logging.LogRecord:
    try:
        message = record.getMessage()
    except Exception:  # its arguments do not fit; logging reports that itself
        return record
    if (clean := redacted(message)) != message:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0]:
        text = logging.Formatter().formatException(record.exc_info)
        if (clean := redacted(text)) != text:
            record.exc_text, record.exc_info = clean, None
    return record


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(redacted("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
