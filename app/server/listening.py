"""Where the page listens: a host's sockets, who reaches them, and the address that people are told."""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# On this machine every address may be reached by one that means all of them.
_NEAR = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets at all addresses of a host, which is a name or an address of either family.

    `::` means every address of this machine, of both families where the system allows. Port 0 lets
    the system choose. Raises OSError for what is no address of this machine, or is taken.
    """
    found = socket.getaddrinfo(
        bare_host(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    places = dict.fromkeys((family, place) for family, *_, place in found if family in _FAMILIES)
    sockets: list[socket.socket] = []
    failures: list[OSError] = []
    for family, place in places:
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listening(family, (place[0], chosen, *place[2:])))
        except OSError as error:
            # A name may also lead to a family that is switched off, such as ::1 in containers.
            failures.append(OSError(error.errno, os.strerror(error.errno or 0)))
    taken = [error for error in failures if error.errno == errno.EADDRINUSE]
    if failures and (taken or not sockets):
        for opened in sockets:
            opened.close()
        raise (taken or failures)[0]
    return sockets


def _listening(family: int, place: tuple[str | int, ...]) -> socket.socket:
    is_for_both = place[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(place, family=family, backlog=2048, dualstack_ipv6=is_for_both)


def bare_host(host: str) -> str:
    """The host without the brackets that an address of IPv6 has in URLs."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def shown_place(host: str, port: int) -> str:
    """Host and port as URLs have them."""
    host = bare_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_address(sockets: Sequence[socket.socket]) -> str:
    """The URL by which this machine reaches the first socket, without a slash at its end."""
    host, port = sockets[0].getsockname()[:2]
    return f"http://{shown_place(_NEAR.get(host, host), port)}"


def is_own_machines(sockets: Sequence[socket.socket]) -> bool:
    """Whether no other machine reaches any of the sockets."""
    return all(is_own_host(opened.getsockname()[0]) for opened in sockets)


def is_own_host(host: str) -> bool:
    """Whether a host is this machine wherever it is said: `localhost`, or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
