"""A change that could lock the owner out is undone by the droplet, unless a fresh connection confirms it.

    arm ID --seconds N --what TEXT    remember how it is now, and go back to that in N seconds
    confirm ID                        the change stays; prints {"state": …, "problems": […]}
    state ID                          the same, and changes nothing
    now                               undo what waits for its confirmation, if anything does
    expire | boot                     for systemd: the time is up; the droplet was rebooted meanwhile

States: pending, confirmed, undone, failed (it was tried, and is tried again every 10 s), unknown. What is
remembered: sshd's configuration, users, their keys, sudo and the firewall, always all of it, in one file that
is written whole before the change begins. Installed as /usr/local/sbin/smallfleet-undo by its first `arm`.
Python's standard library only; Python 3.10+; as root. These modules go onto a droplet joined into one file
(`programs.text`).
"""
