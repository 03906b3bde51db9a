"""Number the chapters by their file names, and write one reference page for each module, made from signatures, docments
and docstrings. Quarto runs this file before it renders, in the folder it builds in; the notebooks of authors stay as they are."""
import functools
import importlib
import inspect
import json
import os
import re
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
from nbdev.config import get_config
from nbdev.showdoc import show_doc

PROPERTIES = property, functools.cached_property
HEAD = """---
title: "{module}"
description: "Every function and class of `{module}`, with its parameters."
repo-actions: false
toc-depth: 3
---

"""


def entry(obj, name, level=2):
    "What nbdev says about `obj`, as Markdown below a heading."
    if isinstance(obj, PROPERTIES): return f"{'#' * level} {name}\n\n*{obj.__doc__ or 'A property.'}*"
    text = show_doc(obj, name=name, title_level=level)._repr_markdown_()
    line = inspect.getsourcelines(inspect.unwrap(obj))[1]
    text = re.sub(r"^---\n+", "", text).replace("#LNone", f"#L{line}")
    text = text.replace(":NoneType=None", "=None")  # nbdev's guess at the type of a parameter that is None unless given
    return text.replace("*Call self as a function.*", "").strip()  # what Python says where there is no docstring


def entries(obj, name):
    "The entry of `obj`, followed by those of its own public methods and properties if it is a class."
    own = [k for k in vars(obj) if not k.startswith("_")] if inspect.isclass(obj) else []
    kinds = {k: inspect.getattr_static(obj, k) for k in own}
    shown = {k: v if isinstance(v, PROPERTIES) else getattr(obj, k) for k, v in kinds.items()
             if isinstance(v, PROPERTIES) or inspect.isroutine(v)}
    return [entry(obj, name)] + [entry(v, f"{name}.{k}", 3) for k, v in shown.items()]


def page(path):
    "The reference page of the module at `path` as Markdown, or nothing if the module offers nothing."
    chapter = re.search(r"File to edit: \.\./nbs/(\S+\.ipynb)", path.read_text(encoding="utf-8"))
    if not chapter: return
    module = importlib.import_module(f"{path.parent.name}.{path.stem}")
    public = {name: getattr(module, name) for name in getattr(module, "__all__", [])}
    coded = {name: obj for name, obj in public.items() if inspect.isclass(obj) or inspect.isfunction(obj)}
    values = [f"`{name}`" for name in public if name not in coded]
    parts = [f"Built, explained and tested in [{chapter_title(Path(chapter[1]))}](../{chapter[1]})."]
    if values: parts.append("Values: " + ", ".join(values) + ".")
    for name, obj in coded.items(): parts += entries(obj, name)
    return HEAD.format(module=module.__name__) + "\n\n".join(parts) + "\n" if public else None


TITLE = re.compile(r"^title: *['\"]?(.*?)['\"]?$", re.MULTILINE)  # nbdev puts it into the first cell


def chapter_numbers(sidebar):
    "The number of each chapter in the text of `_quarto.yml`: `04_training` has 4, and two that share 12 have 12a and 12b, in this order."
    names = re.findall(r"\b((\w+?)_\w+)\.ipynb", sidebar)
    chapters = {number: [name for name, n in names if n == number] for _, number in names}
    letters = {number: "abcdef" if len(members) > 1 else [""] for number, members in chapters.items()}
    return {name: number.lstrip("0") + letter for number, members in chapters.items() for name, letter in zip(members, letters[number])}


def number_title(path, number):
    "Put the number of the chapter at `path` before its title, once."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    front = "".join(notebook["cells"][0]["source"])
    if not number or f'"{number} · ' in front: return
    front = TITLE.sub(lambda m: f'title: "{number} · {m[1]}"', front, count=1)
    notebook["cells"][0]["source"] = front.splitlines(keepends=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def chapter_title(path):
    "The title of the notebook at `path` in the build folder."
    return TITLE.search("".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]))[1]


def write(path, text):
    "Write only what changed, so that Quarto's preview does not start over."
    if not path.exists() or path.read_text(encoding="utf-8") != text: path.write_text(text, encoding="utf-8")


def main():
    numbers = chapter_numbers(Path("_quarto.yml").read_text(encoding="utf-8"))
    for path in Path().glob("*_*.ipynb"): number_title(path, numbers.get(path.stem))
    folder = Path("reference")
    folder.mkdir(exist_ok=True)
    for path in sorted(get_config().lib_path.glob("[a-z]*.py")):
        text = page(path)
        if text: write(folder/f"{path.stem}.qmd", text)


if __name__ == "__main__" and os.environ.get("QUARTO_PROJECT_RENDER_ALL"): main()
