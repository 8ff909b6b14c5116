"""Imported first: `fleet plan`, `apply` and `rollback` are at all droplets at once by gevent, as pyinfra is.

gevent takes the place of what waits (sockets, locks), and must do so before others use it. The other verbs,
the lab's above all, want the real ones.
"""

from __future__ import annotations

import gc
import sys
import warnings

if sys.argv[1:2] in (["plan"], ["apply"], ["rollback"]):
    gc.disable()  # they are over in seconds; looking for garbage would be a tenth of their processor time
    from gevent import monkey

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkey.patch_all()
