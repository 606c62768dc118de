"""One way for each kind of image file, the same in every part; or a refusal."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.api import Images, InputError
from benchmark.data import decode, images

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "images"


def samples_of(source):
    n = len(source)
    names = np.array([f"i{k}" for k in range(n)])
    return Images(inputs=source, labels=np.arange(n) % 2, classes=("a", "b"), ids=names)


def load(cache, *paths, size=None):
    samples = samples_of(tuple(paths))
    return np.array(images.load(samples, images.fingerprint(samples, cache), size, cache))


def cases(name):
    folder = CASES / name
    if not folder.is_dir():
        pytest.skip(f"no cases: {folder} is missing")
    return sorted(p for p in folder.rglob("*.*") if p.is_file())


def pixels(height=10, width=14):
    out = np.zeros((height, width, 3), np.uint8)
    out[:3, :, 0] = 200  # red above
    out[:, :3, 1] = 150  # green on the left
    return out


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_images_are_turned_upright_and_the_fingerprint_knows(tmp_path, orientation, suffix):
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = Image.fromarray(pixels())
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    stored.save(tmp_path / f"x{suffix}", exif=exif, **options)
    found = load(tmp_path / "cache", tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), pixels())
    marked = " turned " in images.file_hashes((tmp_path / f"x{suffix}",), None, None)[0]
    assert marked == (orientation > 1 and suffix != ".tif")


@pytest.mark.parametrize("case", ["o3", "o6", "o8"])
def test_turned_photographs_look_like_the_others_of_their_class(case):
    means = {}
    for path in cases(f"exif-orientation/{case}"):
        with decode.decoded(path, "L") as image:
            small = decode.thumbnail(image).reshape(8, 8)
        means.setdefault(path.parent.name, []).append(small)
    for name, thumbnails in means.items():
        bright = [t.mean(1).argmax() if name == "top" else t.mean(0).argmax() for t in thumbnails]
        assert max(bright) < 4


@pytest.mark.parametrize("case", ["png16", "png48", "tif16", "tiff32f"])
def test_more_than_eight_bits_are_refused_in_every_form(case):
    paths = cases(f"sixteen-bit/{case}")
    deep = [isinstance(one, InputError) for one in map(problem, paths)]
    assert any(deep)
    assert all("more than 8 bits" in str(problem(p)) for p, d in zip(paths, deep) if d)


@pytest.mark.parametrize("case", ["tif2", "gif2"])
def test_files_of_several_pages_are_refused(case):
    assert all(
        "holds 2 pages or frames" in str(problem(path)) for path in cases(f"multipage/{case}")
    )


def problem(path):
    try:
        return decode.header(path)
    except InputError as error:
        return error


def test_other_deep_files_are_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    (tmp_path / "b.ppm").write_bytes(b"P6 2 2 255\n" + bytes(12))
    assert "more than 8 bits" in str(problem(tmp_path / "a.ppm"))
    assert problem(tmp_path / "b.ppm").mode == "RGB"
    if "JPEG2000" in decode._formats():
        Image.fromarray(pixels()).save(tmp_path / "a.jp2")
        assert problem(tmp_path / "a.jp2").mode == "RGB"
        content = bytearray((tmp_path / "a.jp2").read_bytes())
        content[content.find(b"\xff\x4f\xff\x51") + 42] = 15
        (tmp_path / "b.jp2").write_bytes(content)
        assert isinstance(problem(tmp_path / "b.jp2"), InputError)


def test_a_photograph_with_its_preview_is_one_image(tmp_path):
    image = Image.fromarray(pixels())
    image.save(
        tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[image.resize((4, 4))]
    )
    assert problem(tmp_path / "x.jpg").size == (14, 10)


def test_files_are_known_by_content_and_only_common_formats_are_read(tmp_path):
    image = Image.fromarray(pixels())
    image.save(tmp_path / "x.jpg", format="PNG")
    np.testing.assert_array_equal(
        load(tmp_path / "c", tmp_path / "x.jpg")[0].transpose(1, 2, 0), pixels()
    )
    image.save(tmp_path / "y.png", format="EPS")
    with pytest.raises(InputError, match=r"y\.png cannot be read \(no image of a known format\)"):
        load(tmp_path / "c", tmp_path / "y.png")


def test_palettes_transparency_and_cmyk_become_rgb(tmp_path):
    image = Image.fromarray(pixels())
    image.quantize(8).save(tmp_path / "p.png")
    clear = image.convert("RGBA")
    clear.putalpha(Image.new("L", image.size, 0))
    clear.save(tmp_path / "a.png")
    image.convert("CMYK").save(tmp_path / "c.tif")
    found = load(tmp_path / "cache", *(tmp_path / n for n in ("p.png", "a.png", "c.tif")))
    for row in found:
        np.testing.assert_array_equal(row.transpose(1, 2, 0), pixels())


def test_large_images_are_read_and_implausible_ones_refused(tmp_path, monkeypatch):
    Image.fromarray(pixels()).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with pytest.raises(InputError, match=r"x\.png cannot be read \(Image size \(140 pixels"):
        load(tmp_path / "cache", tmp_path / "x.png")


def test_all_that_cannot_be_read_are_named_at_once(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths[:2]:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)).save(path)
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    paths[2].write_text("no image")
    with pytest.raises(InputError, match=r"(?s)3 image files:.*1\.png.*2\.png.*3\.png is missing"):
        load(tmp_path / "cache", *paths)
    with pytest.raises(InputError, match=r"1\.png cannot be read"):
        load(tmp_path / "cache", *paths[:2])


def test_plain_files_keep_their_fingerprint(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(pixels()).save(path)
    import hashlib

    assert images.file_hashes((path,), None, None) == [
        hashlib.sha256(path.read_bytes()).hexdigest()
    ]
    os.utime(path, (1, 1))


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).random((4, 8, 8, 3)),
        np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32) * 255,
        np.ones((4, 8, 8, 1), np.uint16),
        np.ones((4, 8, 8, 1), bool),
        np.ones((4, 8, 8, 1), np.int64),
    ],
    ids=lambda values: f"{values.dtype}",
)
def test_arrays_that_are_not_uint8_are_refused_and_say_how_to_convert(values):
    good = samples_of(np.zeros((4, 8, 8, 1), np.uint8))
    with pytest.raises(InputError, match=rf"{values.dtype} with values from .*astype\(np.uint8\)"):
        replace(good, inputs=values)
    with pytest.raises(InputError, match="1 or 3 channels"):
        replace(good, inputs=np.zeros((4, 8, 8), np.uint8))
