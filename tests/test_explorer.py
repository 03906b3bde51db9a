"The explorer in a real browser without a window: keys and clicks go in, what is shown comes out and is held against Python's numbers."
import base64, json, os, shutil, subprocess, time, warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from cifar_cam.data import normalize
from cifar_cam.explorer import explore
from cifar_cam.gradcam import cam, grad_cam, overlay
from cifar_cam.misclassified import predict
from cifar_cam.recipes import load_pretrained
from cifar_cam.toy import make_toy

websocket = pytest.importorskip("websocket", reason="needs websocket-client, which comes with Jupyter")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
BROWSER = os.environ.get("BROWSER_FOR_TESTS") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"needs a browser: one of {', '.join(NAMES)}, or its path in BROWSER_FOR_TESTS")
VIRTUAL_KEYS = {"Tab": 9, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
LAYERS, METHODS = ("layer2", "layer3", "layer4"), ("gradcam", "hirescam")
VIRIDIS = (colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


class Browser:
    "One page of a headless browser, steered through its debugging port."
    def __init__(self, profile:Path):
        words = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--window-size=1200,900",
                 "--disable-features=IsolateSandboxedIframes,Translate", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        self.log = open(profile.with_suffix(".log"), "w+")
        self.process, self.events, self.n = subprocess.Popen(words, stdout=self.log, stderr=self.log), [], 0
        host = self._address(profile/"DevToolsActivePort")
        self.socket = websocket.create_connection(host, suppress_origin=True, timeout=60, http_no_proxy=["127.0.0.1"])
        self.session = None
        target = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"): self.ask(f"{domain}.enable")

    def _address(self, file, seconds=60):
        "Where the browser listens; a skip with its last words if it does not start."
        for _ in range(10 * seconds):
            if file.is_file() and len(lines := file.read_text().split()) == 2: return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            if self.process.poll() is not None: break
            time.sleep(.1)
        self.process.kill()
        self.log.seek(0)
        pytest.skip(f"{BROWSER} does not start: {self.log.read()[-300:]}")

    def ask(self, method, **params):
        "One command and its answer; events that come in between are kept."
        self.n += 1
        self.socket.send(json.dumps(dict(id=self.n, method=method, params=params) | ({"sessionId": self.session} if self.session else {})))
        while (answer := json.loads(self.socket.recv())).get("id") != self.n: self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def run(self, code, context=None):
        "The value of a JavaScript expression."
        got = self.ask("Runtime.evaluate", expression=code, returnByValue=True, **({"contextId": context} if context else {}))
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def open(self, path):
        self.events.clear()
        self.ask("Page.navigate", url=Path(path).as_uri())
        for _ in range(300):
            if self.run("document.readyState") == "complete": return self
            time.sleep(.1)
        raise TimeoutError(path)

    def press(self, key, times=1):
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=VIRTUAL_KEYS[key])

    def click(self, id, x=.5):
        "A click of the left button on an element, at the share `x` of its width."
        box = self.run(f"(({{left, top, width, height}}) => [left + {x} * width, top + height / 2])(document.getElementById('{id}').getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def complaints(self):
        "Errors, whatever the page writes to the console, and addresses that were asked for beside the page itself."
        self.run("0")  # events sent so far have arrived
        errors = [e for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
                  or e["method"] == "Log.entryAdded" and e["params"]["entry"]["level"] == "error"]
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return errors, [url for url in asked if not url.startswith(("file:", "about:", "data:"))]

    def close(self):
        try: self.session = None; self.ask("Browser.close")
        finally:
            self.socket.close()
            try: self.process.wait(30)
            except subprocess.TimeoutExpired: self.process.kill(); self.process.wait()
            self.log.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser")/"profile")
    yield opened
    opened.close()

@pytest.fixture(scope="module")
def book():
    "Toy images, their predictions, the network, and the order of the page."
    torch.manual_seed(0)
    images, model = make_toy(40, seed=7), load_pretrained("toy")
    predictions = predict(model, images)
    order = np.concatenate([predictions.mistakes, np.flatnonzero(predictions.correct)])[:5]
    return images, predictions, model, order

@pytest.fixture(scope="module")
def page(book, tmp_path_factory):
    images, predictions, model, _ = book
    made = explore(images, predictions, model, n=5, layers=LAYERS, methods=METHODS, classes=3)
    made.save(path := tmp_path_factory.mktemp("page")/"explorer.html")
    path.with_name("frame.html").write_text(f"<!DOCTYPE html><body>{made._repr_html_()}</body>", encoding="utf-8")
    return path


def canvas(browser, id, context=None):
    "RGB pixels of a canvas, uint8 [H,W,3]."
    got = browser.run(f"(c => {{ const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
                      f"return [c.height, c.width, btoa(String.fromCharCode(...d))]; }})(document.getElementById('{id}'))", context)
    return np.frombuffer(base64.b64decode(got[2]), np.uint8).reshape(got[0], got[1], 4)[..., :3]

def chosen(browser, context=None):
    "What the controls say: positions of image and class, method, layer, opacity."
    got = browser.run("['image', 'class', 'method', 'layer', 'opacity'].map(id => document.getElementById(id).value)", context)
    return int(got[0]), int(got[1]), got[2], got[3], int(got[4])

def classes_asked(predictions, k):
    "Predicted, true, then by probability: what the page offers."
    ranked = [predictions.predicted[k], predictions.labels[k], *np.argsort(-predictions.probabilities[k])]
    return list(dict.fromkeys(map(int, ranked)))[:3]

def check_shown(browser, book, context=None):
    "The three pictures, the sentence and the table are those that Python makes for what is chosen."
    images, predictions, model, order = book
    i, c, method, layer, opacity = chosen(browser, context)
    k, target = int(order[i]), classes_asked(predictions, int(order[i]))[c]
    x = normalize(images.images[k:k+1])
    with warnings.catch_warnings(action="ignore"): heat = (grad_cam(model, x, layer, target) if method == "gradcam" else cam(model, x, layer, target, method))[0]
    steps = (heat.numpy() * 255).round().astype(int)
    near = partial(np.testing.assert_allclose, rtol=0)
    near(canvas(browser, "picture", context), images.images[k], atol=0)
    shown = canvas(browser, "map", context).astype(int)  # made in a batch of five: the last digit may differ
    off = np.stack([np.abs(shown - VIRIDIS[np.clip(steps + d, 0, 255)]).max(2) for d in (-1, 0, 1)]).min(0)
    near(off, 0, atol=0)
    near(canvas(browser, "blend", context).astype(int), overlay(images.images[k], heat, opacity / 100).astype(int), atol=5)
    said = browser.run("document.getElementById('said').textContent", context)
    p = predictions.probabilities[k]
    true, guess, name = (images.classes[j] for j in (images.labels[k], predictions.predicted[k], target))
    assert said.startswith(f"Image {k}: true {true}, predicted {guess}. Map for {name} (probability {p[target]:.3f}) by {method} at {layer}, "), said
    assert ("coarse" in said) == (layer == "layer4") and ("all zero" in said) == (steps.max() == 0)
    rows = {"layer2": 16, "layer3": 8, "layer4": 4}[layer]
    assert f" at {layer}, {rows}x{rows}" + (", coarse: a cell covers 8x8 pixels." if rows < 5 else ".") in said, said
    roles = ", ".join(w for w, c in (("predicted", predictions.predicted[k]), ("true", images.labels[k])) if c == target)
    picked = browser.run("['image', 'class'].map(id => document.getElementById(id).selectedOptions[0].textContent)", context)
    assert picked == [f"{k}: " + " / ".join(dict.fromkeys((true, guess))), name + (f" ({roles})" if roles else "")], picked
    table = browser.run("[...document.querySelectorAll('#table tr')].map(tr => [tr.cells[0].textContent, tr.cells[2].textContent, tr.className])", context)
    assert [row[0] for row in table] == list(images.classes) and [row[0] for row in table if row[2]] == [name]
    near([float(row[1]) for row in table], p, atol=6e-4)


def test_opens_on_the_surest_mistake(browser, page, book):
    browser.open(page)
    assert chosen(browser) == (0, 0, "gradcam", "layer3", 50)
    check_shown(browser, book)
    assert browser.complaints() == ([], [])
    images, predictions, model, order = book
    with pytest.raises(AssertionError): check_shown(browser, (images, predictions, model, order[1:]))  # the check can fail

def test_a_broken_page_is_noticed(browser, page, tmp_path):
    "The other checks can fail, too: a script with an error, and a picture from another host."
    (tmp_path/"broken.html").write_text(page.read_text(encoding="utf-8") + "<img src='http://host.invalid/a.png'><script>nowhere()</script>", encoding="utf-8")
    errors, asked = browser.open(tmp_path/"broken.html").complaints()
    assert any(e["method"] == "Runtime.exceptionThrown" for e in errors) and asked == ["http://host.invalid/a.png"]

def test_every_choice_by_keyboard(browser, page, book):
    "Tab from control to control and arrow keys in each, as without a mouse."
    browser.open(page)
    seen = set()
    def look():
        check_shown(browser, book)
        seen.add(chosen(browser))
    for control, steps in (("image", 4), ("class", 2), ("method", 1), ("layer", 1), ("opacity", 3)):
        browser.press("Tab")
        assert browser.run("document.activeElement.id") == control
        for _ in range(steps): browser.press("ArrowDown" if control != "opacity" else "ArrowRight"); look()
    assert chosen(browser) == (4, 2, "hirescam", "layer4", 53)
    browser.press("Home"); look()
    assert chosen(browser)[4] == 0 and np.array_equal(canvas(browser, "blend"), canvas(browser, "picture"))
    browser.press("End"); look()
    assert chosen(browser)[4] == 100 and np.array_equal(canvas(browser, "blend"), canvas(browser, "map"))
    assert len(seen) == 13 and browser.complaints() == ([], [])

def test_slider_by_mouse(browser, page, book):
    browser.open(page)
    blends = []
    for share in (.25, .75):
        browser.click("opacity", share)
        assert abs(chosen(browser)[4] - 100 * share) < 10  # the thumb has a width of its own
        check_shown(browser, book)
        blends.append(canvas(browser, "blend"))
    assert (blends[0] != blends[1]).any()

def test_a_new_image_begins_with_its_predicted_class(browser, page, book):
    browser.open(page)
    browser.run("document.getElementById('class').focus()")
    browser.press("ArrowDown")
    assert chosen(browser)[:2] == (0, 1)
    browser.run("document.getElementById('image').focus()")
    browser.press("ArrowDown")
    assert chosen(browser)[:2] == (1, 0)
    check_shown(browser, book)

def test_what_a_screen_reader_meets(browser, page):
    "Every control has a name, the sentence is announced, the pictures are described."
    browser.open(page)
    nodes = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in browser.ask("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
    named = {role: [name for r, name in nodes if r == role] for role in ("combobox", "slider", "image", "status", "table")}
    assert [n.split()[0] for n in named["combobox"]] == ["Image", "Class", "Method", "Layer"], named["combobox"]
    assert [n.strip() for n in named["slider"]] == ["Opacity of the map"] and named["table"] == ["Probabilities"] and len(named["status"]) == 1
    assert len(named["image"]) == 4 and all("Image " in n or "Colour scale" in n for n in named["image"]), named["image"]

def test_in_the_frame_of_a_notebook(browser, page, book):
    "The sandboxed frame that Jupyter, Colab and the site show draws the same."
    browser.open(page.with_name("frame.html"))
    frame = browser.ask("Page.getFrameTree")["frameTree"]["childFrames"][0]["frame"]["id"]
    context = browser.ask("Page.createIsolatedWorld", frameId=frame)["executionContextId"]
    check_shown(browser, book, context)
    assert browser.complaints() == ([], [])

def test_photographs_without_labels(browser, book, tmp_path):
    "Nothing is called true or wrong where nobody knows."
    images, _, model, _ = book
    photos = images.images[:2]
    explore(photos, predict(model, photos), model, layers=["layer3"], methods=["gradcam"], classes=2).save(tmp_path/"photos.html")
    browser.open(tmp_path/"photos.html")
    said = browser.run("document.getElementById('said').textContent")
    assert said.startswith("Image 0: predicted ") and "true" not in said and browser.complaints() == ([], [])
    assert np.array_equal(canvas(browser, "picture"), photos[0])
