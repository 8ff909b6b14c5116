"""The process that is a lab while it is up: `python -m smallfleet.lab.daemon NAME`.

It ends on SIGTERM or SIGINT. With a file `discard` in its runtime directory it switches droplets off hard.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from types import FrameType

import uvicorn

from smallfleet.errors import FleetError
from smallfleet.lab.api import create_app
from smallfleet.lab.balancers import LabBalancers
from smallfleet.lab.descriptor import Lab, exclusive
from smallfleet.lab.errors import LabError
from smallfleet.lab.farside import FarSide
from smallfleet.lab.machines import LabMachines
from smallfleet.lab.network import LabNetwork
from smallfleet.lab.parts import Parts


def serve(lab: Lab) -> None:
    """Bring up network, far side and kept droplets, then serve the API until told to end."""
    network = LabNetwork(lab)
    machines = LabMachines(lab, network)
    balancers = LabBalancers(lab, network)
    far_side = FarSide(lab)
    try:
        network.up()
        far_side.start()
        machines.attach()  # the API starts them when it has set the firewalls
        parts = Parts(machines, network, far_side.dns, balancers, lab.public_range)
        app = create_app(parts, lab.token, lab.path / "api.json")
        uvicorn.run(
            app,
            host="127.0.0.1",
            port=lab.port,
            log_level="warning",
            timeout_graceful_shutdown=2,
            lifespan="on",
        )
    finally:
        machines.close(graceful=not (lab.runtime / "discard").exists())
        balancers.stop()
        far_side.stop()
        network.down()


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m smallfleet.lab.daemon NAME", file=sys.stderr)
        return 2
    # uvicorn raises the signal that ended it once more: it must not keep us from putting things away.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        lab = Lab.load(sys.argv[1])
        lab.runtime.mkdir(mode=0o711, parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            # Else another lab that comes up may see the file without its lock: a dead lab to clear away.
            with exclusive():
                lock = stack.enter_context((lab.runtime / "daemon.lock").open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise LabError(f"Lab {lab.name} is up already.") from None
            (lab.runtime / "daemon.pid").write_text(f"{os.getpid()}\n")
            (lab.runtime / "index").write_text(f"{lab.index}\n")
            serve(lab)
    except FleetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
