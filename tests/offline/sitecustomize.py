"""Refuse every connection that leaves this machine, in this process and in all that it starts.

Python imports a module of this name at start-up when its folder is on PYTHONPATH; tests/conftest.py and
notebooks/conftest.py put it there. An audit hook sees each connection that Python opens, whatever library
asked for it, and cannot be taken off again. Loopback and Unix sockets pass. Refusals are also written to the
file named in USERLIB_NETWORK_LOG, because the library that tried may swallow the error.
"""

import ipaddress
import os
import socket
import sys

CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def is_local(host):
    """True for loopback, for no host at all, and for this machine's own name."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).split("%")[0])
    except ValueError:
        return str(host).lower() == socket.gethostname().lower()
    return address.is_loopback or address.is_unspecified


def refuse_network(event, args):
    """The audit hook: raises ConnectionRefusedError on a connection or a look-up that is not local."""
    if event in CONNECTS:
        address = args[1]
        host = address[0] if isinstance(address, tuple) and address else None
    elif event in LOOKUPS:
        host = args[0]
    else:
        return
    if is_local(host):
        return
    log = os.environ.get("USERLIB_NETWORK_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"{event} {host}\n")
    raise ConnectionRefusedError(f"the tests run without a network: {event} to {host!r} was refused")


# A module is imported once, so the hook is added once a process.
sys.addaudithook(refuse_network)
