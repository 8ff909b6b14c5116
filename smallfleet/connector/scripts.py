"""Deploy scripts, made known to `inspect`.

pyinfra looks at the whole stack for each operation, to order operations by their lines, and `inspect` looks
for the module of each frame. A deploy script has none, so it goes through all that is imported, for each such
frame of each operation: half of the processor time of a run that changes nothing. Its answer stays the same.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

NO_MODULE = "<a deploy script>"  # not in sys.modules, so that inspect says None


def make_known(context: Any) -> None:
    """The scripts on pyinfra's command line, and those beside them."""
    for word in (context.params.get("operations") or ()) if context else ():
        if str(word).endswith(".py"):
            for script in Path(word).resolve().parent.glob("*.py"):
                inspect.modulesbyfile.setdefault(os.path.normcase(str(script)), NO_MODULE)
