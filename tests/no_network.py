"""Rejection of network connections in a Python process and its child processes."""

import os

_HOOK = """
import os
import socket


def refuse(*args, **kwargs):
    with open({log!r}, "a") as log:
        log.write(f"{{os.getpid()}} {{args}} {{kwargs}}\\n")
    raise OSError("no network in this test")


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
for name in ("create_connection", "getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, name, refuse)
"""


def without_network(environment, folder):
    """Returns an environment in which Python refuses connections, and the log of attempts.

    Python imports `sitecustomize` from PYTHONPATH at each start, also with the option `-P`.

    Args:
        environment: Environment of the first process.
        folder: Empty folder for the module and the log.
    """
    folder.mkdir()
    log = folder / "connections.txt"
    log.touch()
    (folder / "sitecustomize.py").write_text(_HOOK.format(log=str(log)))
    paths = [str(folder), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}, log
