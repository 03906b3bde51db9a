"What several tests need: one thread, no traces in the checkout, and a quick way to start `cifar-cam` in a process of its own."
import json, os, subprocess, sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"): os.environ.setdefault(name, "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["IN_TEST"] = "1"  # torch with one thread
sys.dont_write_bytecode = True

import pytest
from hypothesis import settings

settings.register_profile("here", database=None, deadline=None, derandomize=True, max_examples=30)
settings.load_profile("here")
COMMAND = [sys.executable, "-c", "import sys; from cifar_cam.cli import main; sys.exit(main())"]


class Forker:
    "Starts `cifar-cam` in forks of one process that has imported everything: importing torch takes longer than a tiny training."
    def __init__(self, folder:Path):
        self.folder, self.n = folder, 0
        self.server = subprocess.Popen([sys.executable, Path(__file__).parent/"forker.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *words, fsize=None):
        "Process id, and the file that gets its output."
        self.n += 1
        log = self.folder/f"{self.n}.log"
        log.touch()
        return self.ask(words=list(map(str, words)), log=str(log), fsize=fsize), log

    def wait(self, pid): return self.ask(wait=pid)  # the exit code, or minus the number of the signal

    def run(self, *words, **limits):
        "Exit code and output."
        pid, log = self.start(*words, **limits)
        return self.wait(pid), log.read_text()


@pytest.fixture(scope="session")
def forker(tmp_path_factory):
    made = Forker(tmp_path_factory.mktemp("logs"))
    assert made.run("--help")[0] == 0  # from here on it is ready, and quick
    yield made
    made.server.stdin.close()
    made.server.wait(60)
