"A training that is killed at any moment, resumed and killed again ends in the weights and the history of one that was left alone."
import json, os, random, re, signal, shutil, subprocess, time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cifar_cam.core import HALF
from conftest import COMMAND

EPOCHS, KILLS = 8, 24
WORDS = ("train --recipe book --data toy --width 4 --limit 120 --valid 20 --batch-size 20 --precision fp32 --device cpu "
         f"--epochs {EPOCHS}").split()
STOPPED = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


def result(folder):
    "What must be the same: every tensor, and every number of the history but the seconds."
    record = json.loads((folder/"run.json").read_text())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in record["history"]]
    return load_file(folder/"weights.safetensors"), rows, record["test"]

def same(a, b):
    (w, *rest), (v, *other) = a, b
    return w.keys() == v.keys() and all(torch.equal(w[k], v[k]) for k in w) and rest == other

def until(condition, seconds=120):
    "Wait for something to become true, looking very often."
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(.001)
    return found

def halves(folder): return list(folder.glob(".*.*.*"))
def holder(folder):
    "Who holds the folder; nothing where nobody does."
    try: return (folder/".cifar-cam.begun").read_text()
    except FileNotFoundError: return ""

def begin(forker, out, *more):
    "Start the run and wait for its first checkpoint. Process id, and the file that gets its output."
    pid, log = forker.start(*WORDS, *more, "--out", out)
    until((out/"checkpoint.pt").exists)
    return pid, log

def errors(text): return [line for line in text.splitlines() if line.startswith("cifar-cam:") and "note: This DataLoader" not in line]  # which a computer of one core adds


@pytest.fixture(scope="module")
def unbroken(forker, tmp_path_factory):
    "The folder of a run that was left alone, its result, and the seconds to its first checkpoint and to its end."
    out = tmp_path_factory.mktemp("unbroken")/"run"
    start = time.monotonic()
    pid, log = begin(forker, out)
    first = time.monotonic() - start
    for words, owner in ((WORDS, "train"), ([*WORDS, "--resume"], "train"), ([*WORDS, "--overwrite"], "train"), (["demo", "--overwrite"], "train")):
        code, text = forker.run(*words, "--out", out)  # a second command in the same folder
        assert code == 2 and text.count("\n") == 1 and f"in use by a running cifar-cam ({owner}, process {pid})" in text, text
    assert forker.wait(pid) == 0, log.read_text()
    assert log.read_text().count("train loss") == EPOCHS and not halves(out)
    return out, result(out), first, time.monotonic() - start


def test_results_differ_between_seeds(forker, unbroken, tmp_path):
    "The comparison of these tests can fail."
    assert forker.run(*WORDS, "--seed", 1, "--out", tmp_path/"run")[0] == 0
    assert not same(result(tmp_path/"run"), unbroken[1])

def test_a_finished_run_is_not_overwritten(forker, unbroken):
    before = {p: p.read_bytes() for p in unbroken[0].iterdir() if p.is_file()}
    code, text = forker.run(*WORDS, "--out", unbroken[0])
    assert code == 2 and "add --overwrite to replace it, --resume to go on with it" in text
    assert before == {p: p.read_bytes() for p in unbroken[0].iterdir() if p.is_file()}


in_checkpoint = []  # for each kill that was to fall into the writing of one: whether a half file was there

def kill_once(forker, out, chance, first, epoch):
    "Start or resume the run and stop it at some moment. False if it had ended before."
    how = chance.choice([signal.SIGKILL] * 4 + ["in the checkpoint"] * 2 + [signal.SIGTERM, signal.SIGINT]) if out.exists() else "in the checkpoint"
    half = lambda: list(out.glob(f"{HALF}*.pt"))
    pid, log = forker.start(*WORDS, "--resume", "--out", out)
    if how == "in the checkpoint":
        in_checkpoint.append(until(lambda: half() or "the page" in log.read_text()) is not True)
        how = signal.SIGKILL
    else:
        if how != signal.SIGKILL: until(lambda: f"process {pid}" in holder(out) or log.read_text())  # it is awake and listens
        time.sleep(chance.uniform(.05, first + 3 * epoch))
    os.kill(pid, how)
    code, text = forker.wait(pid), log.read_text()
    if code == 0: return False
    assert code == STOPPED[how] and "Traceback" not in text, (how, code, text)
    if how != signal.SIGKILL: assert errors(text) == ["cifar-cam: stopped"] and (not out.exists() or not halves(out))
    return True


def test_killed_runs_end_like_unbroken_ones(forker, unbroken, tmp_path):
    _, wanted, first, whole = unbroken
    chance, kills, chains = random.Random(0), 0, 0
    while kills < KILLS:
        chains, n = chains + 1, 0
        out = tmp_path/f"run{chains}"
        while kills < KILLS and kill_once(forker, out, chance, first, (whole - first) / EPOCHS): kills, n = kills + 1, n + 1
        code, text = forker.run(*WORDS, "--resume", "--out", out)
        assert code == 0, text
        assert same(result(out), wanted), f"chain {chains}, after {n} kills"
        assert not halves(out)
    assert any(in_checkpoint)
    print(f"{kills} kills in {chains} runs, {sum(in_checkpoint)} in a checkpoint")


def test_shell(unbroken, tmp_path):
    "The same with the command that a shell starts: killed, and resumed to the end."
    out, words = tmp_path/"run", [*COMMAND, *WORDS, "--resume", "--out", tmp_path/"run"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until((out/"checkpoint.pt").exists)
    process.kill()
    assert process.wait() == -9
    assert (out/".cifar-cam.lock").exists()  # left by the dead, held by nobody
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert same(result(out), unbroken[1])


def children(pid): return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_killed_worker(forker, unbroken, tmp_path):
    "A process that prepares batches is killed: one line says so, and the run goes on from its checkpoint."
    out = tmp_path/"run"
    pid, log = begin(forker, out, "--workers", 2)
    os.kill(int(children(pid)[0]), signal.SIGKILL)
    assert forker.wait(pid) == 1
    assert len(errors(log.read_text())) == 1 and re.search("worker .* (killed|exited)", log.read_text()), log.read_text()
    assert forker.run(*WORDS, "--workers", 2, "--resume", "--out", out)[0] == 0
    assert same(result(out), unbroken[1])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_orphans_do_not_keep_the_folder(forker, unbroken, tmp_path):
    "The main process is killed; its workers live on for seconds, but the next run need not be told to come again."
    out = tmp_path/"run"
    pid, _ = begin(forker, out, "--workers", 2)
    os.kill(pid, signal.SIGKILL)
    assert forker.wait(pid) == -9
    code, text = forker.run(*WORDS, "--resume", "--out", out)
    assert code == 0, text
    assert same(result(out), unbroken[1])


def test_full_disk(forker, unbroken, tmp_path):
    "A checkpoint that cannot be written: one line with the cause, and the last good one is untouched."
    out = tmp_path/"run"
    pid, _ = begin(forker, out)
    os.kill(pid, signal.SIGKILL)
    forker.wait(pid)
    before = (out/"checkpoint.pt").read_bytes()
    code, text = forker.run(*WORDS, "--resume", "--out", out, fsize=len(before) // 2)
    assert code == 1 and len(errors(text)) == 1 and "File too large" in text and "make room" in text, text
    assert (out/"checkpoint.pt").read_bytes() == before and not halves(out)
    assert forker.run(*WORDS, "--resume", "--out", out)[0] == 0
    assert same(result(out), unbroken[1])


@pytest.fixture
def small_disk(tmp_path):
    "A file system of two megabytes, where this user may mount one."
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield tmp_path
    subprocess.run(["umount", tmp_path])

def test_no_space_left(small_disk):
    from cifar_cam.cli import _verdict
    from cifar_cam.core import write_text
    from cifar_cam.resnet import ResNet18
    from cifar_cam.training import save_checkpoint, save_weights
    path, model = small_disk/"file.pt", ResNet18(width=16)
    write_text(path, "good")
    for write in (lambda: write_text(path, "x" * 3_000_000), lambda: save_checkpoint(path, {}, [], model=model), lambda: save_weights(model, path)):
        with pytest.raises(Exception, match="No space left on device") as error: write()
        assert "make room" in _verdict(error.value)[1]
        assert path.read_text() == "good" and os.listdir(small_disk) == ["file.pt"]
    write_text(path, "better")
    assert path.read_text() == "better"
