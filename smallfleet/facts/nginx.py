"""What NGINX is configured with."""

from __future__ import annotations

from pyinfra.api import FactBase

DIRECTORY = "/etc/nginx"
TLS = f"{DIRECTORY}/tls"


class NginxFiles(FactBase):
    """sha256 of each file that we own, by its path under /etc/nginx: nginx.conf and sites/*.conf."""

    default = dict

    def command(self) -> str:
        find = "find nginx.conf sites -maxdepth 1 -type f -exec sha256sum {} +"
        return f"cd {DIRECTORY} 2>/dev/null && {find} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        pairs = (line.split(maxsplit=1) for line in output if line.strip())
        return {path: digest for digest, path in pairs}


class NginxCertificates(FactBase):
    """Where each certificate link under /etc/nginx/tls leads, by domain; a link to nothing is not there."""

    default = dict

    def command(self) -> str:
        loop = (
            "for f in */fullchain.pem; do "
            '[ -s "$f" ] && [ -s "${f%/*}/privkey.pem" ] && echo "${f%/*} $(readlink "$f")"; done'
        )
        return f"cd {TLS} 2>/dev/null && {{ {loop}; true; }} || true"

    def process(self, output: list[str]) -> dict[str, str]:
        words = (line.split(maxsplit=1) for line in output if line.strip())
        return {parts[0]: parts[1] if len(parts) > 1 else "" for parts in words}
