"Reads requests, one JSON object a line: start `cifar-cam` in a fork (answers its process id) or wait for one (answers its exit code)."
import functools, json, os, resource, signal, sys

import accelerate, matplotlib.pyplot, sklearn.metrics, sklearn.model_selection, tqdm.auto  # noqa: what the commands import late
import cifar_cam.data, cifar_cam.explorer, cifar_cam.recipes, cifar_cam.report  # noqa
from cifar_cam.cli import main

cifar_cam.data.make_toy = functools.cache(cifar_cam.data.make_toy)
cifar_cam.data.load_data("toy")


def work(words, log, fsize):
    "The fork: output to the log, at most `fsize` bytes a file, then the command as the shell would run it."
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2): os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if fsize: resource.setrlimit(resource.RLIMIT_FSIZE, (fsize, fsize))
    os._exit(main(words))


for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request: answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
    else: answer = os.fork() or work(**request)
    print(answer, flush=True)
