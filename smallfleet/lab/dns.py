"""The lab's DNS server: dnsmasq, serving the records of the domains API and forwarding the rest."""

from __future__ import annotations

import re
import secrets
import signal
import threading
import time
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from smallfleet.lab.errors import LabError
from smallfleet.lab.parts import Record
from smallfleet.lab.service import Service

PROBE = "probe.smallfleet-lab.internal"  # a TXT record whose value tells which publication is being served


class LabDns:
    """dnsmasq on `address`. Address records lie in a hosts file that it rereads; others take a restart."""

    def __init__(self, namespace: str, address: str, directory: Path, logs: Path) -> None:
        self.address, self.directory = address, directory
        self.config, self.hosts = directory / "dnsmasq.conf", directory / "hosts"
        command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={self.config}"]
        self.service = Service("the lab's DNS server (dnsmasq)", namespace, command, logs / "dns.log")
        self.lock = threading.Lock()
        self.served: tuple[str, str] | None = None

    def start(self) -> None:
        """Serve no records yet, or those that a kept lab served last."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            self._write([], [])
        self.service.start(lambda: self._asked(PROBE, "A") is not None)

    def stop(self) -> None:
        self.service.stop()

    def publish(self, domains: list[str], records: list[Record]) -> None:
        """Serve exactly these records; returns when they are being served."""
        with self.lock:
            marker, restart = self._write(domains, records)
            if restart:
                self.service.stop()
                self.service.start(lambda: self._asked(PROBE, "A") == marker)
                return
            self.service.signal(signal.SIGHUP)
            end = time.monotonic() + 10
            while self._asked(PROBE, "A") != marker:
                if time.monotonic() > end:
                    raise LabError(
                        f"the lab's DNS server does not serve new records: {self.service.last_words()}"
                    )
                time.sleep(0.02)

    def _write(self, domains: list[str], records: list[Record]) -> tuple[str, bool]:
        """Write both files; returns the marker that tells them, and whether the config itself changed."""
        # Any address of the benchmarking range: a new one for each publication.
        marker = f"198.19.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
        while marker == (self._asked(PROBE, "A") if self.service.process else None):
            marker = f"198.19.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
        plain = [record for record in records if record.type in ("A", "AAAA") and "*" not in record.name]
        hosts = "".join(f"{record.data} {record.name}\n" for record in plain) + f"{marker} {PROBE}\n"
        config = dnsmasq_config(self.address, self.hosts, domains, [r for r in records if r not in plain])
        changed = not self.config.exists() or self.config.read_text() != config
        self.hosts.write_text(hosts)
        self.config.write_text(config)
        return marker, changed

    def _asked(self, name: str, type: str) -> str | None:
        """The server's answer to one question as text; None when it has none."""
        query = dns.message.make_query(name, dns.rdatatype.from_text(type))
        try:
            answer = dns.query.udp(query, self.address, timeout=0.5)
        except (OSError, dns.exception.DNSException):
            return None
        return answer.answer[0][0].to_text() if answer.answer else None


def dnsmasq_config(address: str, hosts: Path, domains: list[str], records: list[Record]) -> str:
    """dnsmasq's configuration: its address, its own domains, all but plain address records."""
    lines = [
        f"listen-address={address}",
        "bind-interfaces",
        "no-hosts",
        f"addn-hosts={hosts}",
        "no-negcache",
        "local-ttl=0",
        "user=root",
        "cache-size=1000",
        "pid-file=",
        f"local=/{PROBE.split('.', 1)[1]}/",
        *(f"local=/{domain}/" for domain in domains),
        *(line for record in records if (line := _line(record))),
    ]
    return "\n".join(lines) + "\n"


def _line(record: Record) -> str | None:
    target = record.data.rstrip(".")
    match record.type:
        case "A" | "AAAA":
            return f"address=/{record.name.removeprefix('*.')}/{target}"
        case "CNAME":
            return f"cname={record.name},{target}"
        case "MX":
            return f"mx-host={record.name},{target},{record.priority or 0}"
        case "SRV":
            return (
                f"srv-host={record.name},{target},{record.port},{record.priority or 0},{record.weight or 0}"
            )
        case "TXT":
            return f"txt-record={record.name}," + ",".join(f'"{part}"' for part in _texts(record.data))
        case "CAA":
            value = f"{record.flags or 0:02x}{len(record.tag or ''):02x}{(record.tag or '').encode().hex()}"
            return f"dns-rr={record.name},257,{value}{target.encode().hex()}"
        case _:
            return None  # NS: every server that a lab has is this one


def _texts(data: str) -> list[str]:
    """A TXT record's strings of at most 255 bytes, without what would end dnsmasq's quotes."""
    clean = re.sub(r'["\n]', "", data)
    return [clean[start : start + 255] for start in range(0, len(clean), 255)] or [""]
