"CIFAR-10 from a server that truncates, stalls, drips, lies, refuses or fails; the archive here is a tiny one with MD5 sums of its own."
import hashlib, http.server, io, multiprocessing, os, pickle, tarfile, threading, time

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from cifar_cam.core import InputError
from cifar_cam.data import DownloadError, _download, load_cifar10

def md5(data): return hashlib.md5(data).hexdigest()

def batch(seed):
    data = np.random.default_rng(seed).integers(0, 256, (10, 3072), dtype=np.uint8)
    return pickle.dumps({"data": data, "labels": list(range(10))})

NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
FILES = {name: batch(i) for i, name in enumerate(NAMES[:6])} | {"batches.meta": pickle.dumps({"label_names": list("abcdefghij")})}

def archive():
    with io.BytesIO() as made:
        with tarfile.open(fileobj=made, mode="w:gz") as tar:
            for name, data in FILES.items():
                entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return made.getvalue()

ARCHIVE = archive()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    "torchvision's list of files, for the tiny archive."
    for name, value in dict(train_list=[[n, md5(FILES[n])] for n in NAMES[:5]], test_list=[["test_batch", md5(FILES["test_batch"])]],
                            meta=dict(filename="batches.meta", key="label_names", md5=md5(FILES["batches.meta"])), tgz_md5=md5(ARCHIVE)).items():
        monkeypatch.setattr(CIFAR10, name, value)


class Handler(http.server.BaseHTTPRequestHandler):
    "Each path is a kind of failure; torchvision asks once for redirects and once for the file."
    def log_message(self, *_): pass

    def do_GET(self):
        n = len(self.server.asked)
        self.server.asked.append(self.path)
        kind = self.path.strip("/")
        if kind.isdigit(): kind = "truncated" if n < 2 * int(kind) else "good"  # fails so many times
        getattr(self, kind)()

    def head(self, code=200, length=len(ARCHIVE)):
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def good(self): self.head(), self.wfile.write(ARCHIVE)
    def wrong(self): self.head(), self.wfile.write(bytes(len(ARCHIVE)))
    def truncated(self): self.head(), self.wfile.write(ARCHIVE[:len(ARCHIVE) // 2])
    def stalled(self): self.truncated(), self.wfile.flush(), self.server.ended.wait(60)
    def silent(self): self.server.ended.wait(60)
    def garbage(self): self.wfile.write(b"this is not HTTP\r\n\r\n")
    def missing(self): self.head(404, 0)
    def broken(self): self.head(500, 0)
    def slow(self): self.head(), time.sleep(.3), self.wfile.write(ARCHIVE)
    def dripping(self): self.head(), self.drip(ARCHIVE)
    def dripping_head(self): self.drip(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 1000)

    def drip(self, data):
        "A byte now and then, for ever: never silent for as long as a limit for silence would have to be."
        for byte in data:
            if self.server.ended.wait(.02): return
            try: self.wfile.write(bytes([byte])), self.wfile.flush()
            except OSError: return  # nobody listens any more


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.ended = [], threading.Event()
    made.url = f"http://127.0.0.1:{made.server_port}"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.ended.set()
    made.shutdown()


def whole(root):
    "Whether `root` holds the data, and nothing else but the lock."
    train, test = load_cifar10(root, download=False)
    assert set(os.listdir(root)) <= {"cifar-10-batches-py", ".cifar10.lock"}
    first = pickle.loads(FILES["data_batch_1"])["data"][0]  # all red values row by row, then green, then blue
    assert not len(train) or (train.images[0] == first.reshape(3, 32, 32).transpose(1, 2, 0)).all()
    return (len(train), len(test)) == (50, 10)

def test_good(server, tmp_path):
    _download(tmp_path/"a", f"{server.url}/good")
    assert whole(tmp_path/"a") and len(server.asked) == 2
    _download(tmp_path/"a", f"{server.url}/missing")  # there already: nobody is asked
    assert len(server.asked) == 2

@pytest.mark.parametrize("failures", [1, 2])
def test_tried_again_from_the_beginning(server, tmp_path, failures):
    _download(tmp_path, f"{server.url}/{failures}", pause=0)
    assert whole(tmp_path) and len(server.asked) == 2 * (failures + 1)

@pytest.mark.parametrize("kind, tries, why", [
    ("truncated", 3, "not the archive or not all of it"), ("wrong", 3, "not the archive"), ("stalled", 3, "timed out"), ("silent", 3, "timed out"),
    ("dripping", 3, "fewer than 1,000 bytes arrived in 0.3 seconds"), ("dripping_head", 3, "fewer than 1,000 bytes"),
    ("garbage", 3, "not HTTP"), ("broken", 3, "HTTP Error 500"), ("missing", 1, "HTTP Error 404"), ("3", 3, "not all of it")])
def test_given_up(server, tmp_path, kind, tries, why):
    "The number of tries, the address, the cause and the remedy are named; nothing half is left; it ends soon."
    start = time.monotonic()
    seconds = .3 if kind in ("stalled", "silent", "dripping", "dripping_head") else 60
    with pytest.raises(DownloadError) as error: _download(tmp_path, f"{server.url}/{kind}", seconds=seconds, least=1000, pause=0)
    text = str(error.value)
    assert all(word in text for word in (f"{server.url}/{kind}", f"({tries} tr", why, "Check the network", str(tmp_path), "--data toy")), text
    assert set(os.listdir(tmp_path)) <= {".cifar10.lock"}
    assert time.monotonic() - start < 20

def test_slow_is_good_enough(server, tmp_path):
    "What is slow, but not slower than the limit, is waited for: the same pause, another limit."
    with pytest.raises(DownloadError, match="timed out"): _download(tmp_path/"a", f"{server.url}/slow", seconds=.1, tries=1)
    _download(tmp_path/"b", f"{server.url}/slow", seconds=20, tries=1)
    assert whole(tmp_path/"b")

def test_refused(tmp_path):
    with pytest.raises(DownloadError, match="3 tries.*refused"): _download(tmp_path, "http://127.0.0.1:9/x", pause=0)

def test_no_place(server, tmp_path):
    (tmp_path/"file").write_text("")
    with pytest.raises(DownloadError, match="File exists.*a folder that you may write to"): _download(tmp_path/"file", f"{server.url}/good")
    assert not server.asked

def test_leftovers_of_a_killed_download(server, tmp_path):
    (tmp_path/".cifar10-abc").mkdir()
    (tmp_path/".cifar10-abc"/"half").write_text("x")
    _download(tmp_path, f"{server.url}/good")
    assert whole(tmp_path)

def test_two_at_once(server, tmp_path):
    "Both end well, and the archive is fetched once."
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=_download, args=(tmp_path, f"{server.url}/slow")) for _ in range(2)]
    for p in both: p.start()
    for p in both: p.join(60)
    assert [p.exitcode for p in both] == [0, 0] and whole(tmp_path) and len(server.asked) == 2


def test_full_disk(server, tmp_path, monkeypatch):
    "Not tried again, because it will not pass; nothing half is left."
    from cifar_cam import data
    def full(*_): raise OSError(28, "No space left on device", "x")
    monkeypatch.setattr(data, "_receive", full)
    with pytest.raises(DownloadError, match="1 try.*No space left on device.*Make room in"): _download(tmp_path, f"{server.url}/good")
    assert set(os.listdir(tmp_path)) <= {".cifar10.lock"}


@pytest.fixture
def complete(tmp_path):
    "A folder with all data."
    folder = tmp_path/"cifar-10-batches-py"
    folder.mkdir()
    for name, data in FILES.items(): (folder/name).write_bytes(data)
    return folder

def test_read_only_folder(complete):
    before = sorted(complete.parent.rglob("*"))
    for p in (complete, complete.parent): p.chmod(0o555)
    assert whole(complete.parent)
    assert len(load_cifar10(complete, download=False)[0]) == 50  # the folder of the batches will do as well
    assert sorted(complete.parent.rglob("*")) == before
    for p in (complete, complete.parent): p.chmod(0o755)

class Trap:
    "A pickle that makes a folder when it is read."
    def __init__(self, path): self.path = path
    def __reduce__(self): return os.mkdir, (str(self.path),)

@pytest.mark.parametrize("name", NAMES)
def test_nothing_unverified_is_unpickled(complete, tmp_path, name):
    trap = pickle.dumps(Trap(tmp_path/"sprung"))
    (complete/name).write_bytes(trap)
    with pytest.raises(InputError, match=f"{name} is damaged: .*download again"): load_cifar10(tmp_path)
    assert not (tmp_path/"sprung").exists()
    pickle.loads(trap)
    assert (tmp_path/"sprung").exists()  # the trap works

@pytest.mark.parametrize("content", [b"", FILES["data_batch_3"][:-1]])
def test_truncated_batch(complete, tmp_path, content):
    (complete/"data_batch_3").write_bytes(content)
    with pytest.raises(InputError, match="data_batch_3 is damaged"): load_cifar10(tmp_path)

def test_lacking_batch(complete, tmp_path):
    (complete/"data_batch_2").unlink()
    with pytest.raises(InputError, match="lacks the file data_batch_2.*download again"): load_cifar10(tmp_path)

@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_batch(complete, tmp_path):
    (complete/"data_batch_2").chmod(0)
    with pytest.raises(InputError, match="data_batch_2 cannot be read"): load_cifar10(tmp_path)
