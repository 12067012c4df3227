"""A page in a real browser that reaches no network."""

import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def chromium():
    """Its command, for pages that are files."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no browser to look at the page with: install Debian's chromium")
    return found


def browse(command, page, folder, size, *options):
    """The page's DOM after its scripts ran and what the console says."""
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-dev-shm-usage", "--no-first-run", "--enable-logging=stderr",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000",
             f"--user-data-dir={folder}", "--dump-dom")  # fmt: skip
    size = f"--window-size={size[0]},{size[1]}"
    line = [command, *flags, size, *options, page.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    said = [x for x in done.stderr.splitlines() if "CONSOLE" in x]
    return done.stdout, said
