"""Write `llms.txt` and every page as Markdown beside its HTML, for readers that are programs, and take out the scripts that
Quarto fetches from another host. Quarto runs this file in the build folder after it has rendered; the notebooks there are
those that nbdev has prepared, without their hidden cells."""
import json
import os
import re
import sys
from pathlib import Path

import yaml
from nbdev.config import get_config


def pages(contents, section="The book"):
    "The pages of a sidebar in reading order, each with the name of its section."
    if isinstance(contents, str): contents = sorted(str(p) for p in Path().glob(contents))
    for item in contents:
        if isinstance(item, str): yield section, Path(item)
        elif "href" in item: yield section, Path(item["href"])
        else: yield from pages(item["contents"], item["section"])


def text_of(output):
    "What the output of a cell says in words."
    if output["output_type"] == "stream": return "".join(output["text"])
    data = output.get("data", {})
    return "".join(data.get("text/markdown", data.get("text/plain", "")))


def cell_markdown(cell):
    "One notebook cell as Markdown: code in a fence, its words behind it in another."
    source = "".join(cell["source"])
    if cell["cell_type"] != "code": return source
    code = "\n".join(line for line in source.splitlines() if not line.startswith("#|"))
    said = "".join(text_of(output) for output in cell["outputs"]).strip()
    blocks = [f"```python\n{code}\n```"] if code.strip() else []
    return "\n\n".join(blocks + ([f"```\n{said}\n```"] if said else []))


def markdown(path):
    "Front matter and Markdown of the page at `path`, a notebook or a qmd file."
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb": text = "\n\n".join(filter(None, map(cell_markdown, json.loads(text)["cells"])))
    found = re.match(r"---\n(.*?)\n---\s*(.*)", text, re.DOTALL)
    if not found: raise SystemExit(f"{path} must begin with front matter between two lines of ---")
    front, body = found.groups()
    return yaml.safe_load(front), body


# Quarto adds require.js and jQuery from another host to each page that holds an HTML output. No output here uses them.
FETCHED = re.compile(r"""<script\b[^>]*\bsrc="https://[^"]*/(?:require|jquery)[^"]*"[^>]*></script>"""
                     r"""|<script\b[^>]*>\s*define\('jquery'.*?</script>""", re.DOTALL)


def take_out_fetched(path):
    "Remove from the page at `path` the scripts that it would fetch from another host."
    text = path.read_text(encoding="utf-8")
    if FETCHED.search(text): path.write_text(FETCHED.sub("", text), encoding="utf-8")


def main():
    config, out = get_config(), Path(os.environ["QUARTO_PROJECT_OUTPUT_DIR"])
    site, last = f"{config.doc_host}{config.doc_baseurl}", None
    for path in out.glob("*.html"): take_out_fetched(path)
    lines = [f"# {config.title}", "", f"> {config.description}"]
    listed = list(pages(yaml.safe_load(Path("_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]))
    for path in set(Path().glob("*.ipynb")) ^ {path for _, path in listed if path.suffix == ".ipynb"}:
        print(f"WARNING: {path} is {'missing from the sidebar' if path.exists() else 'in the sidebar but does not exist'}", file=sys.stderr)
    for section, path in listed:
        if not path.exists(): continue
        front, body = markdown(path)
        if "{#refs}" in body: continue  # made by the bibliography, empty before it
        name = f"{path.with_name(front.get('output-file', path.stem + '.html'))}.md"
        about = front.get("description", "")
        (out/name).write_text(f"# {front['title']}\n\n> {about}\n\n{body.strip()}\n", encoding="utf-8")
        if section != last: lines += ["", f"## {section}", ""]
        lines.append(f"- [{front['title']}]({site}/{name}): {about}")
        last = section
    (out/"llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__" and os.environ.get("QUARTO_PROJECT_RENDER_ALL"): main()
