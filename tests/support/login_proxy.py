"""An nginx that turns a session cookie into a token for a gateway, and serves a page with the JavaScript client.

It stands for Envoy and Barong in OpenDAX. Knows no expectations.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.gateway import ROOT, GatewayProcess
from tests.support.proxies import listens
from tests.support.servers import START_SECONDS, Server, free_port, wait_until

CLIENT: Final = ROOT / "clients" / "js"
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,"><title>Orders</title></head><body>
<script type="module">
import { PeatioClient, Refused } from "/client/peatio-client.mjs";
const told = (window.told = { orders: [], ends: [], gaps: 0, connected: 0, freezes: 0, refused: null });
document.addEventListener("freeze", () => (told.freezes += 1));
const scheme = location.protocol.replace("http", "ws");
new PeatioClient(`${scheme}//${location.host}/api/v2/ranger`, { authenticated: "by the proxy" })
  .on("order", ({ data }) => told.orders.push(data.id))
  .on("gap", () => (told.gaps += 1))
  .on("connected", () => (told.connected += 1))
  .on("disconnected", ({ reason }) => told.ends.push(reason))
  .run()
  .catch((error) => (told.refused = error instanceof Refused ? error.message : String(error)));
</script></body></html>
"""
CONFIGURATION: Final = """
error_log stderr; events {{ }}
http {{
  {temporary}
  access_log off;
  types {{ text/html html; text/javascript mjs; }}
  map $cookie_session $authorization {{ default ""; member "Bearer {token}"; }}
  server {{
    listen 127.0.0.1:{port};
    location = / {{ root {folder}; try_files /page.html =404; }}
    location = /login {{ add_header Set-Cookie "session=member; Path=/; HttpOnly"; return 302 /; }}
    location /client/ {{ alias {client}/; }}
    location /api/ {{
      proxy_pass http://127.0.0.1:{gateway};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header Authorization $authorization;
    }}
  }}
}}
"""
KINDS: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class LoginProxy(Server):
    """Serves the page at `/`; `/login` gives the cookie of the member whose token this is."""

    def __init__(self, folder: Path, gateway: GatewayProcess, token: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._folder = free_port(), folder
        temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in KINDS)
        given = {"temporary": temporary, "token": token, "port": self.port, "folder": folder, "client": CLIENT}
        (folder / "nginx.conf").write_text(CONFIGURATION.format(**given, gateway=gateway.port))
        (folder / "page.html").write_text(PAGE)
        self.start()

    def start(self) -> None:
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        outside = f"daemon off; pid {self._folder}/pid; user {getpass.getuser()};"
        command = [
            nginx,
            "-p",
            str(self._folder),
            "-e",
            "stderr",
            "-c",
            str(self._folder / "nginx.conf"),
            "-g",
            outside,
        ]
        self.process = subprocess.Popen(command)
        wait_until(lambda: listens(self.port), f"nginx listens on {self.port}", START_SECONDS)
