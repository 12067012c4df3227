"""Pictures of web addresses: bounded, tried again, kept; never from a private place."""

import csv
import http.server
import io
import socket
import threading
import time

import pytest
from PIL import Image
from runs import run_config, sentence, train_run

from hsjax.data import web
from hsjax.data.fetching import Fetcher
from hsjax.data.prepare import read_catalogue
from hsjax.data.web import FetchError, Limits

PUBLIC = "93.184.215.14"
SMALL = 50_000


def png(tone):
    file = io.BytesIO()
    Image.new("RGB", (30, 20), (tone, 90, 10)).save(file, "PNG")
    return file.getvalue()


class Shop(http.server.BaseHTTPRequestHandler):
    """Answers by the path; counts what it was asked."""

    def do_GET(self):  # noqa: N802 - the name that http.server calls
        server = self.server
        with server.lock:
            server.asked.append(self.path)
            server.busy += 1
            server.most = max(server.most, server.busy)
        try:
            name, _, rest = self.path[1:].partition("/")
            getattr(self, f"on_{name}")(rest)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who asked has gone
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self, status, data=b"", **headers):
        self.send_response(status)
        headers = {"Content_Length": len(data), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def on_ok(self, rest):
        self.answer(200, png(int(rest or 7)))

    def on_lazy(self, rest):
        time.sleep(0.1)
        self.on_ok(rest)

    def on_gone(self, rest):
        self.answer(404)

    def on_busy(self, rest):
        again = self.server.asked.count(self.path) > int(rest)
        self.answer(200, png(5)) if again else self.answer(503, Retry_After=2)

    def on_page(self, rest):
        self.answer(200, b"<html>sold out</html>")

    def on_silent(self, rest):
        self.server.over.wait(5)

    def on_drip(self, rest):
        self.send_response(200)
        self.end_headers()
        while not self.server.over.wait(0.05):
            self.wfile.write(b"x")

    def on_drip_headers(self, rest):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        while not self.server.over.wait(0.05):
            self.wfile.write(b"x")

    def on_large(self, rest):
        self.answer(200, bytes(SMALL + 1))

    def on_endless(self, rest):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(10_000))

    def on_cut(self, rest):
        self.answer(200, b"half", Content_Length=4000)

    def on_to(self, rest):
        self.answer(302, Location=rest.replace("~", "/"))

    def on_astray(self, rest):
        self.answer(302, Location="http://[::1/x.jpg")

    def on_round(self, rest):
        self.answer(302, Location="/round/")

    def log_message(self, *_):
        """Silent."""


@pytest.fixture
def shop():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.lock, server.over = threading.Lock(), threading.Event()
    server.asked, server.busy, server.most = [], 0, 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def limits(**changes):
    known = {"retries": 2, "timeout": 0.3, "deadline": 0.6, "max_bytes": SMALL}
    return Limits(**{**known, "private_addresses": True, **changes})


def failure(fetch, address):
    with pytest.raises(FetchError) as error:
        fetch(address)
    return str(error.value)


def test_a_picture_is_fetched_once(shop, tmp_path):
    fetch = Fetcher(tmp_path, limits())
    assert fetch(f"{shop.address}/ok/9") == png(9)
    assert fetch(f"{shop.address}/ok/9") == png(9)
    assert Fetcher(tmp_path, limits())(f"{shop.address}/ok/9") == png(9)
    assert shop.asked == ["/ok/9"]


def test_what_is_gone_is_asked_for_once(shop, tmp_path):
    for _ in range(2):
        fetch = Fetcher(tmp_path, limits())
        assert "refused: HTTP 404" in failure(fetch, f"{shop.address}/gone/1")
    assert shop.asked == ["/gone/1"]


def test_a_busy_server_is_asked_again_and_later(shop, tmp_path):
    pauses = []
    fetch = Fetcher(tmp_path, limits(), sleep=pauses.append)
    assert fetch(f"{shop.address}/busy/2") == png(5)
    assert pauses == [2.0, 2.0]  # as it said itself
    assert "HTTP 503" in failure(fetch, f"{shop.address}/busy/9")
    assert shop.asked.count("/busy/9") == 3
    pauses.clear()
    assert "broke off: 4 of 4,000 bytes" in failure(fetch, f"{shop.address}/cut/")
    assert 0.25 <= pauses[0] <= 0.75 <= 2 * pauses[1] <= 3.0  # twice as long


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("silent/", "web address timed out: nothing for 0.3 s"),
        ("drip/", "web address too slow: not there in 0.6 s"),
        ("drip_headers/", "web address too slow: not there in 0.6 s"),
        ("large/", "picture file too large: more than 50,000 bytes"),
        ("endless/", "picture file too large: more than 50,000 bytes"),
        ("round/", "web address redirects too often: more than 5 times"),
    ],
)
def test_no_server_holds_us_up(shop, tmp_path, path, told):
    fetch, start = Fetcher(tmp_path, limits(retries=0)), time.monotonic()
    assert failure(fetch, f"{shop.address}/{path}") == told
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/x.png",
        "http://localhost/x.png",
        "http://2130706433/x.png",
        "http://0/x.png",
        "http://10.1.2.3/x.png",
        "http://192.168.0.1/x.png",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/x.png",
        "http://224.0.0.1/x.png",
        "http://[::1]/x.png",
        "http://[fe80::1]/x.png",
        "http://[fd00::1]/x.png",
        "http://[::ffff:10.0.0.1]/x.png",
        "http://[64:ff9b::a00:1]/x.png",
        "http://[2002:a00:1::]/x.png",
    ],
)
def test_private_places_are_refused(tmp_path, address):
    fetch = Fetcher(tmp_path, limits(private_addresses=False))
    assert "web address is not public" in failure(fetch, address)


@pytest.mark.parametrize(
    "address", ["ftp://a.example/x", "file:///etc/passwd", "http://u:p@a.example/x"]
)
def test_other_addresses_are_refused(tmp_path, address):
    assert "bad web address" in failure(Fetcher(tmp_path, limits()), address)


@pytest.fixture
def names(shop, monkeypatch):
    """A name server of our own; the public address leads to the local server."""
    known = {"shop.example": [PUBLIC], "inside.example": ["10.0.0.5"]}
    known |= {"both.example": [PUBLIC, "127.0.0.1"], "127.0.0.1": ["127.0.0.1"]}
    connect = socket.create_connection

    def resolve(name, port, *_, **__):
        return [(socket.AF_INET, 1, 6, "", (x, port)) for x in known[name]]

    def connected(place, timeout):
        assert place[0] == PUBLIC, "connected to what was refused"
        return connect(("127.0.0.1", shop.server_port), timeout)

    monkeypatch.setattr(web.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(web.socket, "create_connection", connected)
    return known


def test_a_name_is_what_it_leads_to(shop, names, tmp_path):
    fetch = Fetcher(tmp_path, limits(private_addresses=False))
    assert fetch("http://shop.example/ok/3") == png(3)
    assert fetch("http://shop.example/to/~ok~4") == png(4)
    for name in ("inside", "both"):
        told = failure(fetch, f"http://{name}.example/ok/3")
        assert f"not public: {name}.example is" in told
    before = len(shop.asked)
    for target in (shop.address.replace("/", "~") + "~ok~1", "http:~~inside.example~x"):
        told = failure(fetch, f"http://shop.example/to/{target}")
        assert "web address is not public" in told
    told = failure(fetch, "http://shop.example/to/file:~~~etc~passwd")
    assert "'file' is not http or https" in told
    assert len(shop.asked) == before + 3  # the redirects themselves, nothing behind


def write(path, addresses):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["title", "label", "image_url"])
        for n, address in enumerate(addresses):
            out.writerow([f"thing {n}", ("640320", "640340")[n % 2], address])
    return path


def shop_config(path, **changes):
    columns = {"data.columns.label": ("label",), "data.columns.image": "image_url"}
    columns["data.columns.text"] = ("title",)
    known = {
        "task": "prepare",
        "data.path": str(path),
        "prepare.rows_per_shard": 5,
        "prepare.retries": 0,
        "prepare.timeout": 0.3,
        "prepare.max_bytes": SMALL,
        "prepare.connections": 3,
        "prepare.private_addresses": True,
    }
    return run_config(columns | known, **changes)


def test_a_column_of_addresses_becomes_pictures(shop, tmp_path):
    paths = [f"lazy/{n}" for n in range(12)]
    paths += ["ok/3", "gone/", "page/", "large/", "astray/", "silent/"]
    addresses = [f"{shop.address}/{path}" for path in paths] + [""]
    config = shop_config(write(tmp_path / "shop.csv", addresses))
    train_run(config, tmp_path / "out")
    assert 1 < shop.most <= 3
    told = (tmp_path / "out" / "quarantine.csv").read_text()
    with (tmp_path / "out" / "quarantine.csv").open() as file:
        reasons = {int(x["row"]): x["reason"] for x in csv.DictReader(file)}
    assert sorted(reasons) == [14, 15, 16, 17, 18]
    wanted = ("HTTP 404", "not an image", "large", "bad web address", "timed")
    for row, reason in enumerate(wanted, 14):
        assert reason in reasons[row], told
    asked = len(shop.asked)
    train_run(config, tmp_path / "out")  # done, but for the one that may answer now
    train_run(config, tmp_path / "out")
    # its shard is made again; that a picture is too large nobody keeps
    again = ["/astray/", "/large/", "/silent/"] * 2
    assert sorted(shop.asked[asked:]) == sorted(again)
    read = shop_config(tmp_path / "out", model__modalities=("title", "image"))
    catalogue = read_catalogue(read)
    assert [bool(r.image_key) for r in catalogue.records] == [True] * 13 + [False] * 6
    assert catalogue.records[12].image.read_bytes() == png(3)


def test_what_was_fetched_is_not_fetched_again(shop, tmp_path):
    addresses = [f"{shop.address}/ok/{n}" for n in range(10)]
    config = shop_config(write(tmp_path / "shop.csv", addresses))
    train_run(config, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "shard-00001.json").unlink()  # cut off in this shard
    train_run(config, tmp_path / "out")
    assert len(shop.asked) == 10


def test_private_addresses_need_a_word(shop, tmp_path):
    path = write(tmp_path / "shop.csv", [f"{shop.address}/ok/1"] * 3)
    config = shop_config(path, prepare__private_addresses=False)
    train_run(config, tmp_path / "out")
    assert "not public: 127.0.0.1" in (tmp_path / "out" / "quarantine.csv").read_text()
    assert shop.asked == []


def test_a_wrong_number_is_told(tmp_path):
    config = shop_config(tmp_path / "no.csv", prepare__connections=0)
    assert "prepare.connections" in sentence(config, tmp_path / "out")
