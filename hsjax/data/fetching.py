"""Pictures of web addresses, fetched once and kept."""

import hashlib
import json
import random
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from hsjax.atomic import finished, write_atomically
from hsjax.data.web import FetchError, Limits, ask

REDIRECTS = 5
_LONGEST_WAIT = 30.0  # seconds


class Fetcher:
    """`fetch(address)` gives a picture's bytes, from `folder` where it was fetched.

    A file is named by the sha256 of its address. That a server has no such picture is
    kept as well, so that a run that goes on does not ask again; other failures may be
    gone by then.

    Raises:
      FetchError: by the call, where there is no picture.
    """

    def __init__(self, folder: Path, limits: Limits, sleep: Callable = time.sleep):
        """`sleep` waits so many seconds between two trials."""
        self.folder, self.limits, self.sleep = Path(folder), limits, sleep
        self.folder.mkdir(parents=True, exist_ok=True)
        self.asked = 0  # how often a server was asked
        self._locks = [threading.Lock() for _ in range(64)]  # an address at a time

    def __call__(self, address: str) -> bytes:
        name = hashlib.sha256(address.encode()).hexdigest()
        path = self.folder / name[:2] / name
        failed = path.with_suffix(".failed")
        with self._locks[int(name[:8], 16) % len(self._locks)]:
            if path.is_file():
                return path.read_bytes()
            if failed.is_file():
                raise FetchError(json.loads(failed.read_text())["reason"])
            path.parent.mkdir(exist_ok=True)
            try:
                data = self._tried(address)
            except FetchError as error:
                if error.lasting:
                    kept = {"address": address, "reason": str(error)}
                    write_atomically(failed, json.dumps(kept))
                raise
            with finished(path) as partial:
                partial.write_bytes(data)
            return data

    def _tried(self, address: str) -> bytes:
        limits = self.limits
        for trial in range(limits.retries + 1):
            try:
                return self._followed(address)
            except FetchError as error:
                if not error.passing or trial == limits.retries:
                    raise
                # not all at once again, where many were refused together
                pause = limits.pause * 2**trial * random.uniform(0.5, 1.5)
                self.sleep(min(max(pause, error.wait), _LONGEST_WAIT))
        raise AssertionError("the last trial returns or raises")

    def _followed(self, address: str) -> bytes:
        end = time.monotonic() + self.limits.deadline
        for _ in range(REDIRECTS + 1):
            self.asked += 1
            answer = ask(address, self.limits, end)
            if isinstance(answer, bytes):
                return answer
            address = _joined(address, answer)
        raise FetchError(
            f"web address redirects too often: more than {REDIRECTS} times"
        )


def _joined(address: str, location: str) -> str:
    """The address that a server sends us to; FetchError: it is none."""
    try:
        return urllib.parse.urljoin(address, location)
    except ValueError as error:
        told = f"bad web address: it redirects to {location[:80]!r}: {error}"
        raise FetchError(told) from None
