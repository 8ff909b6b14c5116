"""Files on pyinfra's stack, made known to `inspect`.

pyinfra looks at the whole stack for each operation, to order operations by their lines, and `inspect` looks
for the module of each frame. A deploy script has none, so it goes through all that is imported, for each such
frame of each operation: half of the processor time of a run that changes nothing. Its answer stays the same.
"""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

NO_MODULE = "<a deploy script>"  # not in sys.modules, so that inspect says None


def make_known(context: Any) -> None:
    """The scripts on pyinfra's command line and those beside them, and the modules that are imported."""
    known = inspect.modulesbyfile
    for word in (context.params.get("operations") or ()) if context else ():
        if str(word).endswith(".py"):
            known.setdefault(str(word), NO_MODULE)  # as its frames name it
            for script in Path(word).resolve().parent.glob("*.py"):
                known.setdefault(os.path.normcase(str(script)), NO_MODULE)
    for path in (Path(__file__).parents[1] / "operations").glob("*.py"):  # imported when scripts ask for them
        known.setdefault(str(path), f"smallfleet.operations.{path.stem}")
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if isinstance(file, str) and os.path.isabs(file):  # noqa: PTH117 # some 1,500 of them
            known.setdefault(file, module.__name__)
