"""The limit: the compressor alone, over pieces of a file, in as many threads as there are processors.

python limit.py FILE THREADS   prints the bytes that came out.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deflate import gzip_compress

PIECE = 128 << 10
LEVEL = 6


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, piece by piece."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def compress(path: Path, threads: int) -> int:
    """Compress a file, and forget what comes out; return how many bytes that was."""
    total = 0
    waiting: deque[Future[int]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for piece in pieces(path):
            waiting.append(pool.submit(_packed_size, piece))
            if len(waiting) > 4 * threads:
                total += waiting.popleft().result()
        return total + sum(future.result() for future in waiting)


def _packed_size(piece: bytes) -> int:
    return len(gzip_compress(piece, LEVEL))


if __name__ == "__main__":
    sys.stdout.write(f"{compress(Path(sys.argv[1]), int(sys.argv[2]))}\n")
