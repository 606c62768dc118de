"""The folder of method files, mounted as a package: a file there is ``benchmark.methods.NAME``.

In a checkout the folder is ``methods/`` beside ``benchmark/``, in a wheel it lies inside it: an
importable top-level package of so common a name would shadow others.
"""

import os
from pathlib import Path

_here = Path(__file__).parent
__path__ = [str(p) for p in (_here / "methods", _here.parent / "methods") if p.is_dir()][:1]
if _own := os.environ.get("BENCHMARK_PLUGINS"):
    __path__.append(os.path.join(_own, "methods"))
