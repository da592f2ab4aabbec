"""Locations and errors as text for logs, reports and row errors: short, on one line, and without secrets."""

from __future__ import annotations

import re

_AUTHORITY = re.compile(r"://((?:[^/]*@)?([^/]*))")
_PLAIN_HOST = re.compile(r"(\[[^\]]*\]|[^:\[]*)(:\d*)?")


def redact(location: str) -> str:
    """A location without secrets; if it is long, shortened in the middle."""
    text = without_secrets(location)
    return text if len(text) <= 120 else f"{text[:70]}…{text[-49:]}"


def without_secrets(location: str) -> str:
    """A location whose user information, query and fragment are replaced by ``…``."""
    text = re.sub("([?#]).*" if "://" in location else "([?]).*", r"\1…", location, flags=re.DOTALL)
    for match in _AUTHORITY.finditer(text):
        # What is neither host nor host:port may be a secret with a slash in it, so the rest is not shown.
        if not _PLAIN_HOST.fullmatch(match[2]):
            text = f"{text[: match.start(1)]}…"
            break
    return re.sub("://[^/]*@", "://…@", text)


def redact_all(text: str) -> str:
    """A text in which every URL is redacted."""
    return re.sub(r"\S+://\S+", lambda match: redact(match[0]), text)


def show(location: str) -> str:
    """A location for an error message: redacted, quoted, control characters escaped."""
    return repr(redact(location))


def reason(error: BaseException) -> str:
    """The message of another library's exception: one line, at most 200 characters, every URL redacted."""
    text = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    text = redact_all(text.splitlines()[0][:1000])
    text = "".join(filter(str.isprintable, text))
    return text if len(text) <= 200 else f"{text[:199]}…"
