"""Long work tells how far it is, on a terminal and in a log."""

import io
import logging
import sys
import time

import pytest

from hsjax import progress as module
from hsjax.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.02)


def slowly(rows):
    for row in rows:
        time.sleep(0.01)
        yield row


@pytest.mark.parametrize("total", [30, None])
def test_a_log_has_a_line_now_and_then(impatient, monkeypatch, caplog, total):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, "hsjax")
    rows = progress(slowly(range(30)), "pictures", total=total, unit="items")
    assert list(rows) == list(range(30))
    lines = [r.message for r in caplog.records]
    assert 2 <= len(lines) < 30
    assert all(line.startswith("pictures: ") and "items/s" in line for line in lines)
    assert all((" of 30 items" in line) == (total is not None) for line in lines)
    assert sys.stderr.getvalue() == ""


def test_what_is_soon_over_leaves_no_line(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, "hsjax")
    assert list(progress([1, 2, 3], "rows")) == [1, 2, 3]
    assert not caplog.records


def test_a_terminal_has_a_bar_unless_nothing_is_told(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", Terminal())
    caplog.set_level(logging.INFO, "hsjax")
    assert list(progress([1, 2, 3])) == [1, 2, 3]
    assert sys.stderr.getvalue() == ""
    assert list(progress([1, 2, 3], "catalogue")) == [1, 2, 3]
    assert "catalogue:" in sys.stderr.getvalue()
    assert "3/3" in sys.stderr.getvalue() or "0/3" in sys.stderr.getvalue()
    assert not caplog.records
