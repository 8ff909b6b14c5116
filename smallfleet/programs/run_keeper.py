"""Keep the fleet's lock and the record of a run on this droplet, while the run's SSH connection lives.

Sent whole to `python3 -c` by smallfleet.runs; nothing of it stays on the droplet. Standard library alone.

Standard input: first a line of JSON, one of
  {"keep": record, "lock": true|false}   keep the record, and the lock if true, until the next line
  {"release": who}                       end the run that has the lock, living or dead
  {"status": true}                       who has the lock
  {"read": number}                       the newest records
Standard output: lines of JSON. While it keeps: {"kept": true, "dead": note|null}, {"busy": note} or
{"broken": why}; then a dot every few seconds, which is how each side knows that the other is there.
The line that ends a run is the whole record, or {"refused": true} for one that did not begin after all; the
end of standard input without it is a run that was cut off.

The lock is the kernel's (flock), so that it goes with this process, however that ends. The note in its file
says whose it is; a note without a lock is a dead run's.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import sys
import time
from pathlib import Path

LOCK = Path(os.environ.get("RUN_KEEPER_LOCK", "/run/smallfleet/lock"))
RECORDS = Path(os.environ.get("RUN_KEEPER_RECORDS", "/var/log/smallfleet/runs"))
BEAT = 5  # seconds between dots
DEAD = 30  # seconds without a sign of the other side
KEPT = 200  # records
NAME = re.compile(r"[0-9A-Za-z-]{1,64}")
CUT = "cut off"
unread = bytearray()  # of standard input, beyond the line that was asked for


def now():
    """The time in UTC, as records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def say(answer):
    print(json.dumps(answer), flush=True)


def read(path):
    """The JSON of a file; None if there is none or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def path_of(id):
    if not NAME.fullmatch(id):
        sys.exit(f"not a run's id: {id!r}")
    return RECORDS / f"{id}.json"


def newest_first():
    """The files of all records: names begin with the time."""
    return sorted(RECORDS.glob("*.json"), reverse=True)


def write_record(record):
    """Replace the record of a run, whole or not at all; the oldest beyond KEPT go."""
    path = path_of(record["id"])
    RECORDS.mkdir(mode=0o750, parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    # For root alone: diffs may show what only root may read.
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file, indent=1)
        file.write("\n")
    beside.replace(path)
    for old in newest_first()[KEPT:]:
        old.unlink(missing_ok=True)


def end_record(id, result):
    """Say in the record how the run ended, unless it says so already."""
    record = read(path_of(id))
    if record and not record.get("result"):
        write_record({**record, "result": result, "ended": now()})


def open_lock():
    LOCK.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    return os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(lock):
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def note(lock, text=""):
    """Replace the note in the lock's file."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


def silence():
    """Seconds since the kernel of the machine that runs pyinfra last acknowledged anything; None if unknown.

    Its kernel does so even while pyinfra waits for an answer at its prompt; a sleeping laptop does not.
    """
    here = os.environ.get("SSH_CONNECTION", "").split()
    if len(here) != 4:
        return None
    import subprocess  # for the few runs that take longer than a beat: it takes a tenth of a short one's time

    ask = ["ss", "-tinH", "dport", "=", f":{here[1]}", "and", "sport", "=", f":{here[3]}"]
    try:
        seen = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=BEAT).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    if not seen.strip():
        return None
    found = re.search(rb"\blastack:(\d+)", seen)
    return int(found.group(1)) / 1000 if found else 0.0


def keep(asked):
    """Keep the record, and the lock, until the run says its end or is cut off."""
    record, lock = asked["keep"], None
    id = record["id"]
    dead = None
    if asked["lock"]:
        lock = open_lock()
        if not take(lock):
            return say({"busy": read(LOCK) or {}})
        if (why := forfeited(id)) is not None:
            return say({"broken": why})
        dead = read(LOCK)
        if dead and dead["id"] == id:
            dead = None
        elif dead:
            end_record(dead["id"], CUT)
        told = ("id", "who", "command", "fleet", "limit", "began")
        note(lock, json.dumps({**{key: record.get(key) for key in told}, "pid": os.getpid()}))
    write_record(record)
    say({"kept": True, "dead": dead})
    line = ""
    with contextlib.suppress(OSError, SystemExit):
        line = wait_for_end()
    if not line:
        end_record(id, CUT)
        return None
    last = json.loads(line)
    if last.get("refused"):
        path_of(id).unlink(missing_ok=True)
    else:
        write_record(last)
    if lock is not None:
        note(lock)
        os.close(lock)  # free before it is said, and not only when this process is gone
    return say({"ended": True})


def forfeited(id):
    """Why a run that had the lock before may not have it again; None if it may."""
    before = read(path_of(id))
    if before is None:
        return None
    if before.get("broken"):
        return before["broken"]
    own = path_of(id).stat().st_mtime_ns
    if any(path.stat().st_mtime_ns > own for path in newest_first()):
        return "another run had its turn while this one was away"
    return None


def wait_for_end():
    """The next line of standard input; "" if the other side is gone."""
    while True:
        if b"\n" in unread or select.select([0], [], [], BEAT)[0]:
            return next_line()
        print(".", flush=True)
        if (silence() or 0) > DEAD:
            return ""


def next_line():
    """A line of standard input; "" if it ends before. A run's record has all diffs: it may be megabytes."""
    while b"\n" not in unread:
        data = os.read(0, 1 << 16)
        if not data:
            return ""
        unread.extend(data)
    line, newline, rest = unread.partition(b"\n")
    unread[:] = rest
    return (line + newline).decode()


def release(who):
    """End the run that has the lock. Says {"released": note, "alive": whether it lived}, or null."""
    lock = open_lock()
    held = read(LOCK)
    alive = not take(lock)
    if alive and held:
        record = read(path_of(held["id"])) or held
        why = f"{who} broke the lock"
        write_record({**record, "result": f"stopped: {why}", "broken": why, "ended": now()})
        os.kill(held["pid"], signal.SIGTERM)
        for _ in range(100):
            if take(lock):
                break
            time.sleep(0.1)
        else:
            sys.exit(f"the process {held['pid']} does not let go of the lock")
    elif held:
        end_record(held["id"], CUT)
    note(lock)
    say({"released": held, "alive": alive})


def status():
    """Say {"note": whose the lock is or was, "alive": whether somebody holds it}."""
    lock = open_lock()
    alive = not take(lock)
    say({"note": read(LOCK), "alive": alive})


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    line = next_line()
    if not line:
        return  # its run was refused, or found that it does not need it
    asked = json.loads(line)
    if "keep" in asked:
        keep(asked)
    elif "release" in asked:
        release(asked["release"])
    elif "status" in asked:
        status()
    elif "read" in asked:
        say([record for path in newest_first()[: asked["read"]] if (record := read(path))])


if __name__ == "__main__":
    main()
