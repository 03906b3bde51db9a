"""Check a built site: `nbdev_docs 2>&1 | tee docs.log; python site/check.py _docs docs.log`. Quarto only warns of what is
listed here, or is silent; this file counts each as an error: a dead link or anchor, an unresolved reference or citation,
a figure without a picture, a picture without a description, a cell that failed or warned, a path of somebody's machine, a
request to another host, and every warning in the log."""
import re
import sys
from collections import namedtuple
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from nbdev.config import get_config

LOADS = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("audio", "src"),
         ("embed", "src"), ("object", "data"), ("link", "href")}
Link = namedtuple("Link", "url loads line")  # loads: is it fetched when the page is opened?


class Page(HTMLParser):
    "The links, anchors and pictures of one HTML page."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.problems, self.empty = [], set(), [], []  # empty: open figures that show nothing so far
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs, line = {name: value or "" for name, value in attrs}, self.getpos()[0]
        classes = attrs.get("class", "")
        self.ids.update(filter(None, (attrs.get("id"), attrs.get("name") if tag == "a" else None)))
        for name in ("href", "src", "data", "poster"):
            if not attrs.get(name) or (tag, name) == ("link", "href") and attrs.get("rel") in ("canonical", "alternate"): continue
            self.links.append(Link(attrs[name], (tag, name) in LOADS, line))
        if attrs.get("property") == "og:image": self.links.append(Link(attrs.get("content", ""), False, line))
        if tag == "img" and not attrs.get("alt", "").strip():
            self.problems.append(f"line {line}: picture without a description: {attrs.get('src', '')[:60]}")
        if "cell-output-error" in classes: self.problems.append(f"line {line}: a cell that ended in an error")
        if "cell-output-stderr" in classes: self.problems.append(f"line {line}: a cell that warned")
        for url in set(re.findall(r"""(?:src=|url\()["']?(https?://[^"')\s]+)""", attrs.get("srcdoc", ""))):
            self.problems.append(f"line {line}: a page within this page asks another host: {url}")
        if tag == "figure": self.empty.append(None if re.search("float-(tbl|lst)", classes) else line)
        if tag in ("img", "svg", "table", "math", "video") and self.empty: self.empty = [None]*len(self.empty)

    def handle_endtag(self, tag):
        if tag == "figure" and self.empty:
            line = self.empty.pop()
            if line: self.problems.append(f"line {line}: figure with a caption and no picture")


def text_problems(text):
    "What Quarto and Pandoc leave in the text of a page where a reference cannot be resolved."
    for pattern, what in ((r"\?@[\w-]+", "unresolved reference"), (r"<strong>[\w:-]+\?</strong>", "unresolved citation"),
                          (r"\{\{(?:&lt;|<).*?(?:&gt;|>)\}\}", "shortcode left over")):
        for found in set(re.findall(pattern, re.sub(r"<(script|style|pre)\b.*?</\1>", "", text, flags=re.DOTALL))):
            yield f"{what}: {found}"
    for found in set(re.findall(r"(?<![\w.])/(?:root|home/\w+|Users/\w+)/[\w./-]*", text)): yield f"path of a machine: {found}"


def style_problems(path):
    "Addresses of other hosts in a style sheet."
    for url in set(re.findall(r"(?:url\(|@import\s+)[\"']?(https?:[^\"')]+)", path.read_text(encoding="utf-8"))):
        yield f"asks another host: {url}"


class Site:
    "The built site below `root`, published at `home`; `top` is the repository."
    def __init__(self, root, home, repo, branch, top):
        self.root, self.home, self.top = root.resolve(), home.rstrip("/") + "/", top
        self.pages = {path: Page(path) for path in sorted(self.root.rglob("*.html")) if "site_libs" not in path.parts}
        self.files = [f"{repo}/{verb}/{branch}/" for verb in ("blob", "edit", "tree")]
        self.files.append(f"https://colab.research.google.com/github/{urlsplit(repo).path.strip('/')}/blob/{branch}/")

    def link_problem(self, page, link):
        "Why `link` on `page` leads nowhere, or None."
        if re.match(r"(data|mailto|javascript):", link.url): return
        url = urljoin(self.home + page.relative_to(self.root).as_posix(), link.url)
        for start in self.files:
            if url.startswith(start): return self.file_problem(urlsplit(url[len(start):]).path)
        if not url.startswith(self.home): return f"asks another host: {url}" if link.loads else None
        parts = urlsplit(url[len(self.home):])
        target = self.root/unquote(parts.path)
        if target.is_dir(): target /= "index.html"
        if not target.is_file(): return f"dead link: {link.url}"
        if parts.fragment and target in self.pages and unquote(parts.fragment) not in self.pages[target].ids:
            return f"dead anchor: {link.url}"

    def file_problem(self, path):
        "Why `path` is not a file of the repository, or None."
        return None if (self.top/unquote(path)).exists() else f"link to a file that the repository lacks: {path}"

    def problems(self):
        "Everything that is wrong, one line each."
        for path, page in self.pages.items():
            found = list(page.problems) + list(text_problems(path.read_text(encoding="utf-8")))
            for link in page.links:
                problem = self.link_problem(path, link)
                if problem: found.append(f"line {link.line}: {problem}")
            yield from (f"{path.relative_to(self.root)}: {problem}" for problem in dict.fromkeys(found))
        for path in sorted(self.root.rglob("*.css")):
            yield from (f"{path.relative_to(self.root)}: {problem}" for problem in style_problems(path))


def log_problems(text):
    "The warnings and errors in the log of a build."
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        if re.search(r"\b(WARN|WARNING|ERROR)\b", line): yield f"log: {line.strip()}"


def main(root="_docs", log=None):
    config = get_config()
    site = Site(Path(root), f"{config.doc_host}{config.doc_baseurl}", config.git_url, config.branch, config.config_path)
    if not site.pages: sys.exit(f"{root} has no pages: build the site first, with nbdev_docs")
    found = list(site.problems()) + (list(log_problems(Path(log).read_text(encoding="utf-8"))) if log else [])
    print("\n".join(found) or f"{len(site.pages)} pages, nothing wrong")
    return 1 if found else 0


if __name__ == "__main__": sys.exit(main(*sys.argv[1:]))
