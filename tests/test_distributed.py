"Two processes on the CPU train as one does: the same batches, shared; the same numbers, gathered; one of them writes."
import json, os, subprocess, sys, textwrap

SCRIPT = textwrap.dedent("""
    import sys, torch
    from dataclasses import replace
    from cifar_cam import recipes
    from cifar_cam.data import load_data
    torch.set_num_threads(1)
    train, test = load_data("toy")
    recipe = replace(recipes.RECIPES["toy"], name="pair", epochs=3, width=4, norm="group", batch_size=32, average=.9, lr=.05)
    run = recipes.train(recipe, (train[:int(sys.argv[2])], test[:40]), out=sys.argv[1], device="cpu", precision="fp32", n_valid=0, progress=False)
    print("ROW", run.history.rows[-1]["train_loss"])
""")


def train(tmp_path, n, name, *launcher):
    "Run the script; the lines that it printed and the record that it wrote."
    script = tmp_path/"run.py"
    script.write_text(SCRIPT)
    env = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run([*launcher, str(script), str(tmp_path/name), str(n)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.startswith("ROW")], json.loads((tmp_path/name/"run.json").read_text())


PAIR = sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"


def test_two_processes_train_as_one(tmp_path):
    _, alone = train(tmp_path, 64, "alone", sys.executable)
    lines, pair = train(tmp_path, 64, "pair", *PAIR)
    assert len(lines) == 2 and len(set(lines)) == 1  # both processes hold the gathered numbers
    for a, b in zip(alone["history"], pair["history"]):
        assert a["lr"] == b["lr"]  # as many steps
        assert abs(a["train_loss"] - b["train_loss"]) < 1e-4 * a["train_loss"]  # sums in another order, fed back by each step
        assert abs(a["train_acc"] - b["train_acc"]) * 64 < .5
    assert abs(alone["test"]["loss"] - pair["test"]["loss"]) < 1e-2 * alone["test"]["loss"]
    assert sorted(p.name for p in (tmp_path/"pair").iterdir()) == sorted(p.name for p in (tmp_path/"alone").iterdir())


def test_no_image_is_counted_twice(tmp_path):
    _, pair = train(tmp_path, 330, "pair", *PAIR)  # the last batch of 10 is filled up to 32
    hits = [row["train_acc"] * 330 for row in pair["history"]]
    assert all(abs(h - round(h)) < 1e-6 for h in hits)
