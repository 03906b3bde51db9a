"Check the stored notebooks: outputs without errors or warnings, small cells and files, figures with alt text, a Colab badge."
import json, sys
from pathlib import Path

LIMIT_LINES, LIMIT_BYTES = 20, 400_000
faults = []

def check(path, ok, text):
    if not ok: faults.append(f"{path.name}: {text}")

def has_image(out): return any(k.startswith("image/") for k in out.get("data", {}))

for path in sorted(Path("nbs").glob("*.ipynb")):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    check(path, path.stat().st_size < LIMIT_BYTES, f"{path.stat().st_size} bytes, at most {LIMIT_BYTES}")
    check(path, path.stem == "index" or any("colab-badge" in "".join(c["source"]) for c in cells), "no Colab badge")
    for i, cell in enumerate(cells):
        if cell["cell_type"] != "code": continue
        source = "".join(cell["source"])
        lines = [l for l in source.splitlines() if l.strip() and not l.startswith("#|")]
        check(path, len(lines) <= LIMIT_LINES or "#| export" in source, f"cell {i} has {len(lines)} lines, at most {LIMIT_LINES}")
        for out in cell.get("outputs", []):
            check(path, out["output_type"] != "error", f"cell {i} stored an error")
            check(path, out.get("name") != "stderr", f"cell {i} stored a warning or progress bar: {''.join(out.get('text', ''))[:80]!r}")
            if has_image(out):
                check(path, "#| fig-alt:" in source, f"cell {i} draws a figure without alt text")
        if "#| label: fig-" in source:
            check(path, any(map(has_image, cell.get("outputs", []))), f"cell {i} is a figure without its picture: run the notebook and save it")
print("\n".join(faults) or "all notebooks in order")
sys.exit(bool(faults))
