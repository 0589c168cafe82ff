"""Local HTTP server with the part of the interface of the Hugging Face Hub that downloads use."""

import contextlib
import hashlib
import http.server
import json
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


class HubServer(http.server.ThreadingHTTPServer):
    """Server of the repository `owner/name`, whose files are those of a folder.

    Args:
        folder: Path of the files.
        token: String. Requests without this token are refused.
    """

    daemon_threads = True

    def __init__(self, folder, token):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = Path(folder)
        self.token = token
        self.downloaded = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(folder, token="secret"):
    """Runs a server in a thread, and stops it at the end."""
    server = HubServer(folder, token)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        files = {
            file.relative_to(self.server.folder).as_posix(): file
            for file in sorted(self.server.folder.rglob("*"))
            if file.is_file()
        }
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path in (f"/api/models/owner/name/revision/{name}" for name in ("main", "v1")):
            listed = {
                "id": "owner/name",
                "sha": REVISION,
                "siblings": [{"rfilename": name} for name in files],
            }
            self._send(200, json.dumps(listed).encode())
        elif path.startswith("/api/models/owner/name/tree/"):
            listed = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": name}
                for name, file in files.items()
            ]
            self._send(200, json.dumps(listed).encode())
        elif path.startswith("/api/models/owner/name/revision/"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/owner/name/resolve/"):
            name = path.removeprefix("/owner/name/resolve/").partition("/")[2]
            if name not in files:
                return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            content = files[name].read_bytes()
            if self.command == "GET":
                self.server.downloaded.append(name)
            # The client stores equal tags once.
            tag = hashlib.sha1(name.encode() + content).hexdigest()
            self._send(200, content, {"ETag": f'"{tag}"'})
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send(self, status, content, headers=None):
        self.send_response(status)
        for name, value in {"X-Repo-Commit": REVISION, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
