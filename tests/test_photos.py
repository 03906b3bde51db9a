"Any file that a person may call a photograph: read rightly, or refused in one line."
import os, subprocess, sys, zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cifar_cam.core import InputError
from cifar_cam.report import MAX_PIXELS, load_photo, open_photo

resource = pytest.importorskip("resource")  # not on Windows

RNG = np.random.default_rng(0)
SMOOTH = Image.fromarray(np.dstack([np.add.outer(np.arange(40), np.arange(60)) * k // 2 for k in (1, 2, 4)]).astype(np.uint8))  # 60 x 40

def saved(path, im, **options):
    im.save(path, **options)
    return np.asarray(open_photo(path))


@pytest.mark.parametrize("mode, name", [("RGB", "a.png"), ("RGB", "a.tif"), ("RGB", "a.webp"), ("L", "a.png"), ("P", "a.png"), ("P", "a.gif"), ("1", "a.png"),
                                        ("LA", "a.png"), ("RGBA", "a.png"), ("CMYK", "a.tif"), ("I", "a.tif"), ("F", "a.tif")])
def test_modes(tmp_path, mode, name):
    im = (SMOOTH.convert("L") if mode in "IF" else SMOOTH).convert(mode)
    got = saved(tmp_path/name, im, **({"lossless": True} if name.endswith("webp") else {}))
    assert np.array_equal(got, np.asarray((im.convert("L") if mode in "IF" else im).convert("RGB")))

@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    assert abs(saved(tmp_path/name, SMOOTH.convert("CMYK")).astype(int) - np.asarray(SMOOTH)).mean() < 4

@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bits(tmp_path, mode):
    "Scaled, not cut off."
    gray = np.asarray(SMOOTH.convert("L"))
    im = Image.fromarray((gray.astype(np.uint16) * 257).astype(">u2" if mode.endswith("B") else "<u2"))
    assert np.array_equal(saved(tmp_path/"a.tif", im)[..., 0], gray)
    if mode == "I;16": assert np.array_equal(saved(tmp_path/"a.png", im)[..., 0], gray)

def test_transparent_becomes_white(tmp_path):
    clear = SMOOTH.convert("RGBA")
    clear.putalpha(Image.fromarray(np.repeat([[0], [255]], 20, 0).repeat(60, 1).astype(np.uint8)))
    got = saved(tmp_path/"a.png", clear)
    assert (got[:20] == 255).all() and np.array_equal(got[20:], np.asarray(SMOOTH)[20:])
    palette = Image.fromarray(np.zeros((8, 8), np.uint8), "L").convert("P")
    assert (saved(tmp_path/"b.png", palette, transparency=0) == 255).all()

@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    SMOOTH.save(tmp_path/"a.png", exif=exif)
    with Image.open(tmp_path/"a.png") as im: wanted = np.asarray(ImageOps.exif_transpose(im))
    assert np.array_equal(np.asarray(open_photo(tmp_path/"a.png")), wanted)
    assert (wanted.shape[:2] == (60, 40)) == (orientation > 4)

def test_damaged_exif_is_no_hindrance(tmp_path, monkeypatch):
    SMOOTH.save(tmp_path/"a.png")
    def fails(*_): raise SyntaxError("not a TIFF file")
    monkeypatch.setattr(ImageOps, "exif_transpose", fails)
    assert np.array_equal(np.asarray(open_photo(tmp_path/"a.png")), np.asarray(SMOOTH))

@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_first_of_many_frames(tmp_path, name):
    red, blue = (Image.new("RGB", (30, 20), c) for c in ("red", "blue"))
    got = saved(tmp_path/name, red, save_all=True, append_images=[blue])
    assert got[..., 0].min() > 240 and got[..., 2].max() < 15

@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 1), (32, 32), (31, 33)])
def test_odd_sizes(tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path/"a.png")
    photo = load_photo(tmp_path/"a.png")
    assert photo.pixels.shape == (32, 32, 3) and photo.square.shape == (300, 300, 3) and max(photo.thumbnail.shape) <= 300
    assert (photo.pixels == (255, 0, 0)).all()


def refusal(path):
    with pytest.raises(InputError) as error: open_photo(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: ")
    return str(error.value)[len(str(path)) + 2:]

def huge_png(path, side):
    "A small file that says it is a picture of side x side pixels; its data are zeros."
    def chunk(kind, data): return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**7))) + chunk(b"IEND", b""))

@pytest.mark.parametrize("side", [8001, 10_000, 20_000, 60_000])
def test_too_large(tmp_path, side):
    "Refused by what the first bytes say, before memory is taken for the pixels."
    huge_png(tmp_path/"a.png", side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert f"more than the {MAX_PIXELS:,} pixels" in refusal(tmp_path/"a.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes

@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.tif", "a.webp", "a.bmp", "a.ppm"])
@pytest.mark.parametrize("share", [.002, .5])
def test_truncated(tmp_path, name, share):
    Image.fromarray(RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(tmp_path/name)
    data = (tmp_path/name).read_bytes()
    (tmp_path/name).write_bytes(data[:max(1, int(share * len(data)))])
    assert refusal(tmp_path/name)

@pytest.mark.parametrize("content, why", [(b"", "the file is empty"), (b"hello", "not an image"), (b"\x89PNG\r\n\x1a\n", "not an image"), (b"%PDF-1.7", "not an image"),
                                          (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image")])
def test_no_image(tmp_path, content, why):
    (tmp_path/"a.png").write_bytes(content)
    assert why in refusal(tmp_path/"a.png")

def test_no_file(tmp_path):
    (tmp_path/"folder.png").mkdir()
    (tmp_path/"link.png").symlink_to(tmp_path/"nothing")
    (tmp_path/"loop.png").symlink_to(tmp_path/"loop.png")
    os.mkfifo(tmp_path/"pipe.png")
    found = {p.name: refusal(p) for p in tmp_path.iterdir()}
    assert found["folder.png"] == found["pipe.png"] == "not a file" and found["link.png"] == "a link to nothing"
    assert refusal(tmp_path/"none.png") == "there is no such file"
    assert refusal(tmp_path/("x" * 300)) and refusal(tmp_path/"a\0b")

def test_unreadable(tmp_path, monkeypatch):
    SMOOTH.save(tmp_path/"a.png")
    (tmp_path/"a.png").chmod(0)
    if os.geteuid() == 0:  # root may read everything
        def denied(*_, **__): raise PermissionError(13, "Permission denied", "a.png")
        monkeypatch.setattr(Image, "open", denied)
    assert refusal(tmp_path/"a.png") == "the image cannot be read (Permission denied)"

def test_random_damage(tmp_path):
    "Whatever a damaged file does to a decoder, the answer is a picture or one line."
    path, answers = tmp_path/"a", set()
    for name in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        SMOOTH.save(path, name)
        good = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            bad = good.copy()
            bad[RNG.integers(0, len(bad), 5)] = RNG.integers(0, 256, 5)
            path.write_bytes(bad.tobytes())
            try: answers.add(open_photo(path).mode)
            except InputError as e: answers.add("\n" in str(e))
    assert answers == {"RGB", False}


def test_folder_with_everything(forker, tmp_path):
    "The good ones are done, the bad ones listed, hidden files and plain folders passed over; exit code 1."
    (tmp_path/"in").mkdir(), (tmp_path/"in"/"sub").mkdir(), (tmp_path/"in"/"folder.png").mkdir()
    SMOOTH.save(tmp_path/"in"/"good.png"), SMOOTH.convert("CMYK").save(tmp_path/"in"/"<b>&amp;.jpg")
    for name, data in (("empty.jpg", b""), ("notes.txt", b"hello"), (".hidden", b"x")): (tmp_path/"in"/name).write_bytes(data)
    (tmp_path/"in"/"link.png").symlink_to("nothing")
    huge_png(tmp_path/"in"/"bomb.png", 30_000)
    code, text = forker.run("explain", tmp_path/"in", tmp_path/"none.png", "--out", tmp_path/"out")
    skipped = sorted(Path(line.split(": ")[1].removeprefix("skipped ")).name for line in text.splitlines() if line.startswith("cifar-cam: "))
    assert code == 1 and skipped == ["bomb.png", "empty.jpg", "folder.png", "link.png", "none.png", "notes.txt"], text
    page = (tmp_path/"out"/"report.html").read_text()
    assert "&lt;b&gt;&amp;amp;.jpg" in page and "<b>&" not in page and page.count("the link to nothing") == 0 and "a link to nothing" in page
    code, text = forker.run("explain", tmp_path/"in"/"notes.txt", tmp_path/"in"/"empty.jpg", "--out", tmp_path/"never")
    assert code == 2 and text.count("\n") == 1 and not (tmp_path/"never").exists()
