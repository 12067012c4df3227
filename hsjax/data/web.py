"""One question to a web server, of which nothing is trusted.

A catalogue may name any address. A name is resolved here, every address that it has
must be public, and the connection goes to the very address that was looked at; so is
each that a server sends us to.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass

from hsjax.data.pixels import ImageError

_BLOCK = 64 * 1024  # bytes that are read together
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))  # answers of a busy server
_MOVED = frozenset((301, 302, 303, 307, 308))


class FetchError(ImageError):
    """Why an address gives no picture: a short phrase, then ': ' and the detail.

    Attributes:
      passing: may it be otherwise in a moment, or after `wait` seconds?
      lasting: does the server say that it has no such thing?
    """

    def __init__(
        self, reason: str, *, passing=False, lasting=False, wait: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.passing, self.lasting, self.wait = passing, lasting, wait


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one picture may cost: see `config.prepare`.

    Attributes:
      timeout, deadline: seconds; max_bytes: of the picture.
      pause: seconds before the second trial, twice as long before each other.
    """

    retries: int
    timeout: float
    deadline: float
    max_bytes: int
    private_addresses: bool = False
    pause: float = 0.5


def ask(address: str, limits: Limits, end: float) -> bytes | str:
    """The body at an address, or the address that the server sends us to.

    Args:
      end: of the monotonic clock, when the connection is cut.

    Raises:
      FetchError: neither of them.
    """
    connection, target = _connection(address, limits)
    watch = threading.Timer(max(0.0, end - time.monotonic()), connection.cut)
    watch.daemon = True
    watch.start()
    try:
        headers = {"User-Agent": "hsjax", "Accept": "image/*", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        with contextlib.closing(connection.getresponse()) as response:
            if response.status in _MOVED:
                return response.headers.get("Location") or address
            if response.status != 200:
                raise _refused(response)
            body = _body(response, limits)
        if time.monotonic() > end:  # a cut looks like the end of a body
            raise TimeoutError
        return body
    except FetchError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        told = f"broke off: {error or type(error).__name__}"
        if time.monotonic() > end:
            told = f"too slow: not there in {limits.deadline:g} s"
        elif isinstance(error, TimeoutError):
            told = f"timed out: nothing for {limits.timeout:g} s"
        raise FetchError(f"web address {told}", passing=True) from None
    finally:
        watch.cancel()
        connection.close()


def _refused(response) -> FetchError:
    after = response.headers.get("Retry-After") or ""
    told = f"web address refused: HTTP {response.status} {response.reason}"
    wait = float(after) if after.isdecimal() else 0.0
    passing = response.status in _AGAIN
    return FetchError(told, passing=passing, lasting=not passing, wait=wait)


def _body(response, limits: Limits) -> bytes:
    told = response.headers.get("Content-Length") or ""
    if told.isdecimal() and int(told) > limits.max_bytes:
        raise _too_large(limits)
    parts, size = [], 0
    while part := response.read1(_BLOCK):
        parts.append(part)
        size += len(part)
        if size > limits.max_bytes:
            raise _too_large(limits)
    if told.isdecimal() and size < int(told):
        raise OSError(f"{size:,} of {int(told):,} bytes")
    return b"".join(parts)


def _too_large(limits: Limits) -> FetchError:
    return FetchError(f"picture file too large: more than {limits.max_bytes:,} bytes")


def _connection(address: str, limits: Limits):
    """(connection to an address that may be asked, what to ask for).

    Raises:
      FetchError: not http or https, no such name, or a place that is not public.
    """
    try:
        parts = urllib.parse.urlsplit(address.strip())
        host, port = parts.hostname, parts.port
        if parts.username or parts.password:
            raise FetchError("bad web address: it has a user name in it")
        name = (host or "").encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise FetchError(f"bad web address: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise FetchError(f"bad web address: {parts.scheme!r} is not http or https")
    if not name:
        raise FetchError(f"bad web address: no host in {address[:80]!r}")
    port = port or (443 if parts.scheme == "https" else 80)
    place = _public_place(name, port, private=limits.private_addresses)
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="=&%/?:@!$'()*+,;~-._")
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    connection = _Connection(name, port, place, secure, limits.timeout)
    return connection, f"{target}?{query}" if query else target


class _Connection(http.client.HTTPConnection):
    """Goes to the place that was looked at, whatever the name means by then."""

    def __init__(self, name: str, port: int, place, secure, timeout: float) -> None:
        super().__init__(name, port, timeout=timeout)
        self.place, self.secure = place, secure
        self.default_port = 443 if secure else 80  # not said in the header Host
        self.opened: socket.socket | None = None  # also once a response owns it

    def connect(self) -> None:
        self.sock = socket.create_connection(self.place, self.timeout)
        if self.secure:
            self.sock = self.secure.wrap_socket(self.sock, server_hostname=self.host)
        self.opened = self.sock

    def cut(self) -> None:
        """Ends what waits for the other side."""
        with contextlib.suppress(OSError):
            if self.opened:
                self.opened.shutdown(socket.SHUT_RDWR)


def _public_place(name: str, port: int, *, private: bool) -> tuple[str, int]:
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        passing = error.errno == socket.EAI_AGAIN
        reason = f"web address unknown: {name}: {error.strerror}"
        raise FetchError(reason, passing=passing) from None
    addresses = [info[4][0] for info in found]
    for address in addresses:
        if not private and not _is_public(address):
            raise FetchError(
                f"web address is not public: {name} is {address} (see"
                " prepare.private_addresses)"
            )
    return addresses[0], port


def _is_public(text: str) -> bool:
    """Not of this machine, its network or a tunnel into it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo:
            inner = address.teredo[1]
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return address.is_global and not address.is_multicast
