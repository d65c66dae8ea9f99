"""Numbers temporary names instead of drawing them, so that strace can be told them before they are made."""

import itertools
import os
import secrets

_numbers = itertools.count(int(os.environ.get("FIRST_NUMBER", "1")))


def _next_number(nbytes: int | None = None) -> str:
    return f"{next(_numbers):0{2 * (nbytes or 32)}x}"


secrets.token_hex = _next_number
