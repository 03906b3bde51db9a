"The command as a shell starts it, in surroundings that are not kind to it."
import json, os, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import COMMAND

pty = pytest.importorskip("pty")  # there are no terminals of this kind on Windows

BARE = {"PATH": os.environ["PATH"], "LANG": "C", "LC_ALL": "C", "COLUMNS": "40", "TERM": "dumb", "OMP_NUM_THREADS": "1"}  # no HOME, no display
TINY = ["--data", "toy", "--recipe", "toy", "--width", "4", "--limit", "60", "--batch-size", "20", "--precision", "fp32", "--device", "cpu"]

def run(*words, env=BARE, **options):
    "Exit code, standard output, standard error."
    done = subprocess.run([*COMMAND, *map(str, words)], env=env, capture_output="stdout" not in options, text=True, errors="surrogateescape", **options)
    return done.returncode, done.stdout, done.stderr

def one_line(text): return text.startswith("cifar-cam: ") and text.count("\n") == 1 and text.endswith("\n")


def test_help_is_quick():
    "It does not import torch: under a second, of three tries the best."
    def seconds():
        start = time.perf_counter()
        code, out, err = run("--help")
        assert code == 0 and not err and all(c in out for c in ("demo", "train", "evaluate", "explain", "lr-find"))
        return time.perf_counter() - start
    assert min(seconds() for _ in range(3)) < 1
    asked = "import sys; from cifar_cam.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], env=BARE, capture_output=True).returncode == 0

def test_wrong_use():
    for words in (["dmeo"], ["train", "--epochs", "-1"], ["explain"]):
        code, out, err = run(*words)
        assert code == 2 and not out and one_line(err), (words, code, out, err)

@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full: done = subprocess.run([*COMMAND, "--help"], env=BARE, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and one_line(done.stderr) and "No space left" in done.stderr

@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_does_not_stop_the_work(tmp_path):
    words = [*COMMAND, "evaluate", "--data", "toy", "--limit", "20", "--out", tmp_path/"out"]
    with open("/dev/full", "w") as full: done = subprocess.run(words, env=BARE | {"HOME": str(tmp_path)}, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and one_line(done.stderr) and "not everything could be printed" in done.stderr
    assert sorted(os.listdir(tmp_path/"out")) == ["confusion.png", "evaluation.json"]

def test_folder_that_is_gone(tmp_path):
    (tmp_path/"gone").mkdir()
    shell = f"cd '{tmp_path}/gone' && rmdir ../gone && exec " + " ".join(f"'{w}'" for w in [*COMMAND, "evaluate", "--data", "toy"])
    done = subprocess.run(["bash", "-c", shell], env=BARE, capture_output=True, text=True)
    assert done.returncode == 2 and one_line(done.stderr) and "has been deleted" in done.stderr, done.stderr

@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "| head -c 1 >/dev/null"])
def test_closed_streams(closed):
    shell = " ".join(["exec"] * ("|" not in closed) + [f"'{w}'" for w in COMMAND]) + f" train --help {closed}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], env=BARE, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr

def test_terminal_of_40_columns():
    "With a terminal for a screen, too, where a library might like colours."
    leader, follower = pty.openpty()
    subprocess.run([*COMMAND, "demo", "--help"], env=BARE, stdout=follower, stderr=follower, check=True)
    os.close(follower)
    text = os.read(leader, 100_000).decode()
    assert "--epochs" in text and "\x1b" not in text and max(map(len, text.splitlines())) <= 50  # 77 where COLUMNS is ignored; 50 is the least that click goes to


def strange_folder(tmp_path):
    "A folder with a blank and letters of several scripts, a photograph, and a file that is none."
    folder = tmp_path/"zwei Wörter 写真"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(folder/"süß 🐈.png")
    os.symlink(folder/"süß 🐈.png", os.fsencode(folder) + b"/\xff.png")  # a name that is no UTF-8
    (folder/"notes.txt").write_text("hello")
    return folder

def check_explained(out):
    record = json.loads((out/"explanation.json").read_text(encoding="utf-8"))
    assert len(record["images"]) == 2 and len(record["skipped"]) == 1
    assert "süß 🐈.png" in (out/"report.html").read_text(encoding="utf-8")
    explorer = (out/"explorer.html").read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0]
    assert any(image["number"].endswith("süß 🐈.png") for image in json.loads(explorer)["images"])

def test_explain_without_home_in_plain_c(tmp_path):
    "No HOME, LANG=C, 40 columns, strange names, one bad file."
    folder = strange_folder(tmp_path)
    code, out, err = run("explain", folder, "--html", "--out", "eine Seite ü", cwd=folder)
    assert code == 1 and one_line(err) and "notes.txt" in err, err
    check_explained(folder/"eine Seite ü")
    assert len(out.splitlines()) == 4

def test_home_that_cannot_be_written(tmp_path):
    "HOME is no folder, the temporary folder is the only one that can be written; the reader of the output leaves at once."
    env = BARE | {"HOME": "/dev/null", "PYTHONIOENCODING": "ascii"}
    shell = " ".join(f"'{w}'" for w in [*COMMAND, "evaluate", "--data", "toy", "--limit", "20", "--out", str(tmp_path/"out")]) + " | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert json.loads((tmp_path/"out"/"evaluation.json").read_text())["images"] == 20 and (tmp_path/"out"/"confusion.png").exists()

def test_user_without_a_name(tmp_path):
    "A container may run as a number that no user has: no HOME, and none to look up."
    nameless = "import pwd, sys\ndef unknown(*_): raise KeyError\npwd.getpwuid = unknown\nfrom cifar_cam.cli import main\nsys.exit(main())"
    words = [sys.executable, "-c", nameless, "evaluate", "--data", "auto", "--limit", "20", "--out", "out"]
    done = subprocess.run(words, env=BARE | {"TMPDIR": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr and "so this is the toy set" in done.stdout, done.stderr
    assert not (tmp_path/"~").exists()


@pytest.mark.parametrize("how, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(tmp_path, how, code):
    "Ctrl-C reaches every process of a shell's job, SIGTERM the one that was named; both leave one line and a folder to go on from."
    words = [*COMMAND, "train", *TINY, "--epochs", "500", "--workers", "2", "--out", tmp_path/"out"]
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background inherits that Ctrl-C is ignored
    process = subprocess.Popen(words, env=BARE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heeding)
    while not (tmp_path/"out"/"checkpoint.pt").exists(): assert process.poll() is None; time.sleep(.05)
    os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
    err = process.communicate(timeout=60)[1]
    lines = [l for l in err.replace("\r", "\n").splitlines() if l.strip() and not l.startswith("epoch ")]  # without the bar
    assert process.returncode == code and lines == ["cifar-cam: stopped"], err
    hidden = {p.name for p in (tmp_path/"out").iterdir() if p.name.startswith(".")}
    assert hidden <= {".cifar-cam.begun"}  # neither lock nor half a file; a note says whose work this is

def test_a_page_leaves_a_notebook_drawing(tmp_path):
    "A notebook's backend switches matplotlib to interactive when it is loaded, at the first figure; a report that makes this figure must not undo it."
    (tmp_path/"inline.py").write_text("from matplotlib.backends.backend_agg import *\nimport matplotlib\nmatplotlib.interactive(True)\n")
    def after(style):
        code = f"import matplotlib.pyplot as plt\nfrom cifar_cam.report import _page_style\nwith {style}(): plt.close(plt.figure())\nprint(plt.isinteractive())"
        env = dict(os.environ, MPLBACKEND="module://inline", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert [after("_page_style"), after("plt.rc_context")] == ["True", "False"]
