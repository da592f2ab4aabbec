"""A path or URI in a table → the bytes that it points at: checked first, then opened by its kind."""

from __future__ import annotations

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.location import HTTP, Access, locate, show
from emotion_ops.images.stores import Admit, nobody, read_file, read_object

_LONGEST = 16 * 2**10  # no store has a longer key and no usual server a longer URL; some back ends are quadratic


def read(location: str, access: Access, admit: Admit = nobody) -> bytes:
    """Read the encoded image that a table's cell points at.

    Args:
        location: A local path, a ``file:`` URI, or the URI of an allowed scheme.
        access: What may be reached.
        admit: Told of the bytes before they are read, as soon as their number is known; may wait.

    Returns:
        The bytes, at most ``access.max_bytes`` of them.

    Raises:
        RowError: The image cannot be had: ``missing``, ``not_found``, ``forbidden``, ``too_large`` or
            ``unreadable``. No other exception leaves this function, and no message holds a credential or query.
    """
    if not location:
        raise RowError(RowErrorCode.MISSING, "the path is empty")
    if len(location) > _LONGEST:
        what = f"{show(location)} has {len(location):,} characters, too many for a path: give images as binary cells"
        raise RowError(RowErrorCode.UNREADABLE, what)
    target = locate(location, access)
    if isinstance(target, str):
        return read_file(target, access, admit)
    if target.scheme in HTTP:
        from emotion_ops.images import http  # it brings ssl, which a table of local paths does without

        return http.read(target, access, admit)
    return read_object(target, access, show(location), admit)
