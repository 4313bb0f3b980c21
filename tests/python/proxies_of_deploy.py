"""nginx and HAProxy with the files of deploy/, as they ship but for addresses, ports and paths."""

import os
import shutil
import socket

from processes import ROOT, Process, eventually, free_port

FILES = ["nginx.conf", "nginx-beside-agent.conf", "haproxy.cfg", "haproxy-beside-agent.cfg"]
# Around what is "part of the `http` block".
NGINX = """
daemon off;
{user}
pid {dir}/pid;
error_log stderr;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    include {dir}/shipped.conf;
}}
"""


def program(name):
    """Where Debian has it is not on everybody's path."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")


class Proxy(Process):
    """A proxy in front of two servers, and of an agent where the file has one."""

    def __init__(self, file, servers, agent, certificates):
        super().__init__("proxy")
        self.port = free_port()
        self.authority = certificates / "authority.crt"
        certificate, key = ((certificates / name).read_text() for name in ("server.crt", "server.key"))
        (self.dir / "own.pem").write_text(certificate + key)
        (self.dir / "own.key").write_text(key)
        text = (ROOT / "deploy" / file).read_text()
        for shipped, ours in {
            "10.0.0.11:8000": f"127.0.0.1:{servers[0].port}",
            "10.0.0.12:8000": f"127.0.0.1:{servers[1].port}",
            "10.0.0.21:8080": f"127.0.0.1:{agent}",
            "/etc/ssl/tasks.example": str(self.dir / "own"),
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "bind :443": f"bind 127.0.0.1:{self.port}",
            # As many files as there are here.
            "maxconn 200000": "maxconn 2000",
        }.items():
            text = text.replace(shipped, ours)
        (self.dir / "shipped.conf").write_text(text)
        if file.startswith("nginx"):
            user = "user root;" if os.geteuid() == 0 else ""
            (self.dir / "nginx.conf").write_text(NGINX.format(user=user, dir=self.dir))
            self.spawn([program("nginx"), "-p", str(self.dir), "-c", str(self.dir / "nginx.conf")])
        else:
            self.spawn([program("haproxy"), "-db", "-f", str(self.dir / "shipped.conf")])
        eventually(self._listens, f"{file} on {self.port}\n{self.log}")

    def _listens(self):
        assert self.running, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def remove(self):
        # Killed, nginx would leave its workers behind.
        self.stop()
        super().remove()
