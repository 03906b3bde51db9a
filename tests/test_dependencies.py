"What settings.ini asks for: nothing is imported that it does not name, and oldest.txt holds the oldest versions it allows."
import ast, re, sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE_OF = {"sklearn": "scikit-learn", "PIL": "pillow", "pytorch_grad_cam": "grad-cam",
              "cv2": "albumentations", "pydantic": "albumentations"}  # parts of Albumentations, used to speak with it

def requirements(section):
    "Name and lower bound of each requirement; no bound is None."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT/"settings.ini", encoding="utf-8")
    words = [re.match(r"([A-Za-z0-9._-]+)(?:>=([0-9.]+))?", word) for word in config["DEFAULT"][section].split()]
    return {m[1]: m[2] for m in words}

def imported(text):
    "Top-level names that a module imports, here or in a function."
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import): found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level: found.add(node.module.split(".")[0])
    return found - {"cifar_cam"} - sys.stdlib_module_names

def undeclared(text): return {name for name in imported(text) if PACKAGE_OF.get(name, name) not in requirements("requirements")}

def version(text):
    parts = [int(p) for p in text.split(".")]
    return (*parts, *[0] * (4 - len(parts)))


@pytest.mark.parametrize("module", sorted((ROOT/"cifar_cam").glob("*.py")), ids=lambda p: p.stem)
def test_everything_imported_is_asked_for(module):
    "So an installation without extras can do all that the package does; `dev` is for those who write chapters."
    assert not undeclared(module.read_text(encoding="utf-8"))

def test_a_forgotten_one_is_found():
    assert undeclared("import numpy, nbdev.export\ndef f(): from fastcore.test import test_eq") == {"nbdev", "fastcore"}

def test_oldest():
    "Every lower bound, and nothing else, stands in oldest.txt."
    wanted = {name: bound for part in ("requirements", "dev_requirements") for name, bound in requirements(part).items() if bound}
    assert not [name for name, bound in requirements("requirements").items() if not bound]
    lines = [line for line in (ROOT/"oldest.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert {name: version(v) for name, v in pinned.items()} == {name: version(v) for name, v in wanted.items()}
