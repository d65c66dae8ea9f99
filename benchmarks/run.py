"""Start the benchmark from anywhere: ``python benchmarks/run.py --quick``."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks.command import main

    sys.exit(main())
