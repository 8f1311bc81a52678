"""Proxies that the environment names: addresses of this machine never go through one."""

import contextlib
import os
from collections.abc import Iterator

_OWN = ("localhost", "127.0.0.1", "::1")
# Either spelling is read, and where both are there the small one counts.
_NAMES = ("NO_PROXY", "no_proxy")


def spare_this_machine() -> None:
    """Has every client of this process, and of those it starts, reach this machine directly."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    spared = [host.strip() for host in known.split(",") if host.strip()]
    spared += [host for host in _OWN if host not in spared]
    for name in _NAMES:
        os.environ[name] = ",".join(spared)


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
    """For imports that make clients, which fails where a proxy is of a kind that is not installed.

    Only while there are no other threads: they would see it as well.
    """
    before = {name: os.environ.get(name) for name in _NAMES}
    os.environ.update(dict.fromkeys(_NAMES, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
