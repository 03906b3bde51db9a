"Two processes on the CPU train as one does: the same batches, shared; the same numbers, gathered; one of them writes."
import json, os, socket, subprocess, sys, textwrap

import pytest

from cifar_cam.core import hold
from conftest import COMMAND

SCRIPT = textwrap.dedent("""
    import hashlib, os, sys, torch
    from collections import Counter
    from dataclasses import replace
    from cifar_cam import recipes
    from cifar_cam.data import AugmentedImages, load_data
    out, n, norm, *launcher = sys.argv[1:]

    def work():
        torch.set_num_threads(1)
        served, serve = Counter(), AugmentedImages.__getitems__  # images by the size of their set
        def counted(self, keys):
            served[len(self)] += len(keys)
            return serve(self, keys)
        AugmentedImages.__getitems__ = counted
        train, test = load_data("toy")
        recipe = replace(recipes.RECIPES["toy"], name="pair", epochs=3, width=4, norm=norm, batch_size=32, average=.9, lr=.05)
        run = recipes.train(recipe, (train[:int(n)], test[:512]), out=out, device="cpu", precision="fp32", n_valid=0, progress=False)
        weights = b"".join(v.numpy().tobytes() for v in run.model.state_dict().values())
        row = run.history.rows[-1]
        line = f"ROW {row['train_loss']} {row['valid_loss']} {run.predictions.loss} {hashlib.sha256(weights).hexdigest()} {served[int(n)]} {served[512]}\\n"
        os.write(1, line.encode())  # at once, or the lines of two processes mix

    if not launcher: work()
    else:
        from accelerate import notebook_launcher
        notebook_launcher(work, num_processes=2)
""")
ENV = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
TORCHRUN = sys.executable, "-m", "torch.distributed.run"
PAIR = *TORCHRUN, "--standalone", "--nproc-per-node", "2"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def start(tmp_path, n, norm, name, *launcher, notebook=()):
    script = tmp_path/"run.py"
    script.write_text(SCRIPT)
    words = [*launcher, str(script), str(tmp_path/name), str(n), norm, *notebook]
    return subprocess.Popen(words, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def rows(*processes):
    "The lines that the processes printed."
    texts = [p.communicate(timeout=600) for p in processes]
    assert not any(p.returncode for p in processes), "".join(err[-3000:] for _, err in texts)
    return [line for out, _ in texts for line in out.splitlines() if line.startswith("ROW")]

def record(folder): return json.loads((folder/"run.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    "The folder of the same training in one process."
    tmp_path = tmp_path_factory.mktemp("alone")
    assert len(rows(start(tmp_path, 64, "group", "alone", sys.executable))) == 1
    return tmp_path/"alone"

def check_same(alone, folder, lines):
    "Both processes hold the same numbers, and up to rounding they are those of one process."
    assert len(lines) == 2 and len(set(lines)) == 1
    assert lines[0].split()[-2:] == [str(3 * 64 // 2), str(3 * 512 // 2)]  # in 3 epochs each has prepared half of all images
    one, two = record(alone), record(folder)
    for a, b in zip(one["history"], two["history"]):
        assert a["lr"] == b["lr"]  # as many steps
        for loss in ("train_loss", "valid_loss"): assert abs(a[loss] - b[loss]) < 1e-3 * a[loss]  # sums in another order, fed back by each step
        assert abs(a["train_acc"] - b["train_acc"]) * 64 < .5 and abs(b["valid_acc"] * 512 - round(b["valid_acc"] * 512)) < 1e-4
    assert abs(one["test"]["loss"] - two["test"]["loss"]) < 1e-2 * one["test"]["loss"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in alone.iterdir())


def test_two_processes_train_as_one(alone, tmp_path):
    check_same(alone, tmp_path/"pair", rows(start(tmp_path, 64, "group", "pair", *PAIR)))

def test_two_machines_train_as_one(alone, tmp_path):
    nodes = [(*TORCHRUN, "--nnodes", "2", "--node-rank", str(i), "--master-addr", "127.0.0.1", "--nproc-per-node", "1") for i in range(2)]
    port = str(free_port())
    check_same(alone, tmp_path/"nodes", rows(*[start(tmp_path, 64, "group", "nodes", *node, "--master-port", port) for node in nodes]))

def test_from_a_notebook(alone, tmp_path):
    check_same(alone, tmp_path/"notebook", rows(start(tmp_path, 64, "group", "notebook", sys.executable, notebook=["notebook"])))

def test_no_image_is_counted_twice(tmp_path):
    "Nor do the processes part ways where each has seen other images: BatchNorm's statistics are those of the first."
    lines = rows(start(tmp_path, 330, "batch", "pair", *PAIR))  # the last batch of 10 is filled up to 32
    assert len(lines) == 2 and len(set(lines)) == 1
    hits = [row["train_acc"] * 330 for row in record(tmp_path/"pair")["history"]]
    assert all(abs(h - round(h)) < 1e-6 for h in hits)


WORDS = ("train --recipe toy --data toy --limit 60 --valid 20 --width 4 --epochs 2 --batch-size 10 --device cpu --precision fp32 --quiet").split()

def command(out, *words):
    launch = [*PAIR, "--no-python", *COMMAND, *WORDS, "--out", str(out), *words]
    return subprocess.run(launch, env=ENV, capture_output=True, text=True, timeout=600)

def test_the_command_in_two_processes(tmp_path):
    "One of them holds the folder, writes the page and prints; a folder in use is refused, and both end."
    done = command(tmp_path/"run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("test accuracy") == done.stdout.count("the page:") == 1
    assert record(tmp_path/"run")["command"] == "train" and (tmp_path/"run"/"report.html").is_file()
    assert not list((tmp_path/"run").glob(".*"))
    with hold(tmp_path/"busy"): done = command(tmp_path/"busy")
    assert done.returncode and f"in use by a running cifar-cam (train, process {os.getpid()})" in done.stderr, done.stderr[-3000:]
    assert not (tmp_path/"busy").exists()
