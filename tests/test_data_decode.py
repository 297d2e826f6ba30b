"""Pictures as they lie on disks: every mode, turn, transparency and damage that Pillow can meet."""

import pickle

import numpy as np
import pytest
from PIL import Image

from t2h.data.decode import decode
from t2h.data.encoded import EncodedImages, encoded, settled
from t2h.data.table import ImageTable
from t2h.errors import UserError

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
GREY = rng.integers(0, 256, (8, 8), dtype=np.uint8)


def reopened(image: Image.Image, tmp_path, name="image.png", **options) -> Image.Image:
    image.save(tmp_path / name, **options)
    return Image.open(tmp_path / name)


def table(images, n, names=("a",)) -> ImageTable:
    return ImageTable(images, np.zeros(n, np.int64), names)


def test_pixels_are_exact_when_nothing_is_asked(tmp_path):
    image = reopened(Image.fromarray(RGB), tmp_path)
    np.testing.assert_array_equal(decode(image, (8, 8), 3), RGB.transpose(2, 0, 1))
    image = reopened(Image.fromarray(GREY), tmp_path)
    np.testing.assert_array_equal(decode(image, (8, 8), 1), GREY[None])


def test_grey_becomes_rgb_and_back():
    np.testing.assert_array_equal(decode(Image.fromarray(GREY), (8, 8), 3), np.stack([GREY] * 3))
    luma = (RGB.astype(np.int64) @ [19595, 38470, 7471] + 0x8000) >> 16  # ITU-R 601
    np.testing.assert_array_equal(decode(Image.fromarray(RGB), (8, 8), 1), luma[None])


def test_16_bit_grey(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = reopened(Image.fromarray(values), tmp_path)
    assert image.mode.startswith("I")
    np.testing.assert_array_equal(decode(image, (8, 8), 1)[0], np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white(tmp_path, mode):
    clear, half, full = (10, 10, 10, 0), (10, 10, 10, 128), (10, 10, 10, 255)
    rgba = Image.new("RGBA", (3, 3), clear)
    for x, colour in enumerate((clear, half, full)):
        rgba.paste(colour, (x, 0, x + 1, 3))
    pixels = decode(reopened(rgba.convert(mode), tmp_path), (3, 3), 1)[0, 0]
    assert pixels[0] == 255
    assert pixels[2] == 10
    if mode != "P":
        assert abs(int(pixels[1]) - 132) <= 1  # half of 10 over half of 255


def test_palette_and_cmyk_and_bilevel(tmp_path):
    palette = Image.fromarray(RGB).convert("P")
    np.testing.assert_array_equal(
        decode(reopened(palette, tmp_path), (8, 8), 3), np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    )
    cmyk = reopened(Image.fromarray(RGB).convert("CMYK"), tmp_path, "image.jpg")
    assert decode(cmyk, (8, 8), 3).shape == (3, 8, 8)
    bilevel = decode(reopened(Image.fromarray(GREY).convert("1"), tmp_path), (8, 8), 1)
    assert set(np.unique(bilevel)) <= {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    """A red top-left quarter stays there, whichever way the camera was held."""
    upright = Image.new("RGB", (32, 48), "white")
    upright.paste("red", (0, 0, 16, 24))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposes that the reader has to take back
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    images = encoded((tmp_path / "photo.jpg",), "photos", None, None)
    assert images.shape == (1, 3, 48, 32)
    pixels = images[np.array([0])][0].astype(int)
    assert pixels[1, 4, 4] < 60
    assert pixels[1, 4, -5] > 200
    assert pixels[1, -5, 4] > 200


def test_shorter_side_is_resized_and_the_centre_kept():
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 200
    pixels = decode(Image.fromarray(wide), (10, 10), 1)[0]
    assert pixels.shape == (10, 10)
    assert (pixels[:, 1:-1] > 190).all()  # the sides are gone
    tall = decode(Image.fromarray(wide.T.copy()), (10, 10), 1)[0]
    np.testing.assert_array_equal(tall, pixels.T)


def test_shrinking_does_not_alias():
    """The finest checkerboard averages to grey; picking single pixels would leave 0 or 255."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = decode(Image.fromarray(board), (8, 8), 1)
    assert np.abs(pixels.astype(int) - 127).max() <= 3


def test_large_jpeg_close_to_full_decoding(tmp_path):
    """JPEG may skip detail that resizing throws away, but not visibly."""
    y, x = np.mgrid[:600, :600] / 60
    smooth = (127 + 120 * np.sin(x) * np.cos(y)).astype(np.uint8)
    image = reopened(Image.fromarray(smooth), tmp_path, "large.jpg", quality=95)
    reference = Image.fromarray(smooth).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.abs(decode(image, (32, 32), 1)[0].astype(int) - np.asarray(reference)).max() <= 4


def test_array_is_converted_like_files():
    images = RGB.transpose(2, 0, 1)[None]
    lazy = EncodedImages(images, (4, 4), 1, np.arange(1))
    done = settled(table(lazy, 1))
    np.testing.assert_array_equal(done.images[0], decode(Image.fromarray(RGB), (4, 4), 1))


@pytest.fixture
def files(tmp_path):
    paths = []
    for i in range(100):
        paths.append(tmp_path / f"{i:03d}.png")
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(paths[-1])
    return tuple(paths)


def test_small_sets_settle_in_memory(files):
    lazy = encoded(files, "set", None, None)
    assert lazy.shape == (100, 1, 4, 4)
    done = settled(table(lazy, 100))
    assert isinstance(done.images, np.ndarray)
    assert done.images[:, 0, 0, 0].tolist() == list(range(100))


def test_large_sets_stay_lazy(files):
    done = settled(table(encoded(files, "set", None, None), 100), budget=100 * 16 - 1)
    assert isinstance(done.images, EncodedImages)
    assert isinstance(settled(table(encoded(files, "set", None, None), 100), 100 * 16).images, np.ndarray)
    assert done.images[np.array([7, 3, 7])][:, 0, 0, 0].tolist() == [7, 3, 7]
    assert done.images[np.array([], np.int64)].shape == (0, 1, 4, 4)
    narrowed = done.select([50, 60, 70]).select([2, 0])
    assert isinstance(narrowed.images, EncodedImages)
    assert narrowed.images[np.arange(2)][:, 0, 0, 0].tolist() == [70, 50]
    assert isinstance(settled(narrowed).images, np.ndarray)
    again = pickle.loads(pickle.dumps(narrowed.images))  # workers get it so
    assert again[np.array([0])][0, 0, 0, 0] == 70


@pytest.mark.parametrize("budget", [1 << 20, 10])
def test_all_damaged_files_are_named(files, budget):
    files[3].write_bytes(files[3].read_bytes()[:-25])  # cut inside the pixels: the header still reads
    files[80].write_bytes(b"not an image at all")
    files[99].unlink()
    lazy = EncodedImages(files, (4, 4), 1, np.arange(100))
    with pytest.raises(UserError) as caught:
        settled(table(lazy, 100), budget)
    message = str(caught.value)
    assert message.startswith("3 of 100 images cannot be read")
    assert all(str(files[i]) in message for i in (3, 80, 99))
    assert f"{files[80]}: not an image" in message
    assert message.count("\n") == 3


def test_damage_outside_the_chosen_rows_does_not_matter(files):
    files[3].write_bytes(b"")
    lazy = EncodedImages(files, (4, 4), 1, np.arange(100))
    assert len(settled(table(lazy, 100).select([1, 2]))) == 2


def test_sizes_must_agree_or_be_given(files, tmp_path):
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "other.png")
    paths = (*files, tmp_path / "other.png")
    with pytest.raises(UserError, match=r"2 sizes, from 4x4 to 9x6 .*--image-size"):
        encoded(paths, "set", None, None)
    assert encoded(paths, "set", 4, None).shape == (101, 1, 4, 4)


def test_one_colour_image_makes_the_set_rgb(files, tmp_path):
    Image.fromarray(RGB[:4, :4].copy()).save(tmp_path / "colour.png")
    assert encoded((*files, tmp_path / "colour.png"), "set", None, None).channels == 3
