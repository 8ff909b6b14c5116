"""Imported first: `fleet plan` and `fleet apply` look at all droplets at once by gevent, as pyinfra does.

gevent takes the place of what waits (sockets, locks), and must do so before others use it. The other verbs,
the lab's above all, want the real ones.
"""

from __future__ import annotations

import gc
import sys
import warnings

if sys.argv[1:2] in (["plan"], ["apply"]):
    gc.disable()  # a plan is over in seconds; looking for garbage would be a tenth of its processor time
    from gevent import monkey

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkey.patch_all()
