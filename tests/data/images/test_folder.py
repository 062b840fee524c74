"""A user's folder: their pixels, their classes, and each file that can't be used by its name."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tf_iresnet import data
from tf_iresnet.data.images import decoding, encoded
from tf_iresnet.data.images import folder as folder_module
from tf_iresnet.training import build
from tf_iresnet.training.workdir import RunError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 12, 12, 3), np.uint8)
GIF = b"GIF89a" + bytes.fromhex("01000100800000000000ffffff2c00000000010001000002024401003b")


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_png if path.suffix == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(image).numpy())


@pytest.fixture
def folder(tmp_path):
    """Thirty colour images of 12×12 pixels, and a file of another kind."""
    for i, image in enumerate(PIXELS):
        write(tmp_path / "mine" / f"{i:02}.png", image)
    (tmp_path / "mine" / "notes.txt").write_text("not an image")
    return tmp_path / "mine"


def everything(dataset):
    """All images, as levels, uint8, sorted, and the number of them in each part."""
    count = 30 - len(dataset.validation) - len(dataset.test)
    parts = (dataset.train_batches(count, 0)(0).numpy(), dataset.validation, dataset.test)
    images = np.floor(np.concatenate(parts)).astype(np.uint8)
    return sorted(image.tobytes() for image in images), [len(part) for part in parts]


def test_images_of_the_size_keep_their_pixels_and_each_is_in_one_part(folder):
    before = sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in folder.iterdir())
    dataset = data.load("image_folder", path=folder, size=12)
    assert dataset.name == "mine" and dataset.event_shape == (12, 12, 3) and dataset.levels == 256
    assert dataset.labels is None
    images, counts = everything(dataset)
    assert images == sorted(image.tobytes() for image in PIXELS)
    assert counts == [24, 3, 3]
    after = sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in folder.iterdir())
    assert after == before


def test_the_seed_alone_decides_the_split(folder):
    first, again, other = (
        data.load("image_folder", path=str(folder), size=12, test=0.3, split_seed=seed)
        for seed in (0, 0, 1)
    )
    assert len(first.test) == 9
    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_larger_images_are_cut_to_their_middle_and_averaged(tmp_path):
    """Of 12 × 20 pixels the 12 × 12 in the middle, in squares of 3 × 3."""
    wide = RNG.integers(0, 256, (30, 12, 20, 3), np.uint8)
    for i, image in enumerate(wide):
        write(tmp_path / f"{i:02}.png", image)
    images, _ = everything(data.load("image_folder", path=tmp_path, size=4))
    means = wide[:, :, 4:16].reshape(30, 4, 3, 4, 3, 3).mean(axis=(2, 4))
    found = np.sort(np.frombuffer(b"".join(images), np.uint8).reshape(30, -1).mean(axis=1))
    np.testing.assert_allclose(found, np.sort(means.reshape(30, -1).mean(axis=1)), atol=0.5)


def test_folders_within_are_classes(tmp_path):
    for i, image in enumerate(PIXELS):
        write(tmp_path / ("cats" if i % 3 else "dogs") / "more" / f"{i}.png", image)
    dataset = data.load("image_folder", path=tmp_path, size=12)
    assert dataset.classes == ("cats", "dogs")
    source = {image.tobytes(): i % 3 == 0 for i, image in enumerate(PIXELS)}
    x, label = dataset.labelled_batches(24, 0)(0)
    for images, labels in [(x.numpy(), label.numpy()), (dataset.test, dataset.labels.test)]:
        levels = np.floor(images).astype(np.uint8)
        assert [source[image.tobytes()] for image in levels] == list(labels)


@pytest.mark.parametrize("grey_first", [True, False])
def test_grey_among_colour_is_refused_by_name_or_made_one_kind(grey_first, folder):
    odd = folder / ("00.png" if grey_first else "17.jpg")
    odd.unlink(missing_ok=True)
    write(odd, PIXELS[0, :, :, :1])
    pattern = r"\d\d\.png: .*a grey .*00\.png" if grey_first else r"17\.jpg: .*a colour .*00\.png"
    with pytest.raises(data.DataError, match=pattern + r".*channels=3 or grey with channels=1"):
        data.load("image_folder", path=folder, size=12)
    for channels in (1, 3):
        dataset = data.load("image_folder", path=folder, size=12, channels=channels)
        assert dataset.event_shape == (12, 12, channels)


def test_all_grey_is_one_channel(tmp_path):
    for i, image in enumerate(PIXELS[:10, :, :, :1]):
        write(tmp_path / f"{i}.png", image)
    dataset = data.load("image_folder", path=tmp_path, size=12)
    assert dataset.event_shape == (12, 12, 1)
    assert (len(dataset.validation), len(dataset.test)) == (2, 2)


def test_transparency_is_refused_unless_left_out(folder):
    write(folder / "clear.png", RNG.integers(0, 256, (12, 12, 4), np.uint8))
    with pytest.raises(data.DataError, match=r"clear\.png: .*colour with transparency\. .*nels=3"):
        data.load("image_folder", path=folder, size=12)
    assert data.load("image_folder", path=folder, size=12, channels=3).event_shape == (12, 12, 3)


BAD = {
    "moving.gif": (GIF, r"moving\.gif: Expected PNG and JPEG images\. Received: \.gif"),
    "really.png": (GIF, r"really\.png: Expected a PNG or JPEG image\. Received: another kind"),
    "empty.jpg": (b"", r"empty\.jpg: .*Received: an empty file"),
    "broken.png": (b"\x89PNG\r\n\x1a\nbroken", r"broken\.png: Expected a whole PNG or JPEG"),
    "broken.jpeg": (b"\xff\xd8\xffbroken", r"broken\.jpeg: Expected a whole PNG or JPEG"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named(name, folder):
    content, message = BAD[name]
    (folder / name).write_bytes(content)
    with pytest.raises(data.DataError, match=message) as refused:
        data.load("image_folder", path=folder, size=12)
    assert not any(word in str(refused.value) for word in ("{{", "[Op:", "device", "..", ".)"))


def test_an_image_cut_short_is_named(folder):
    whole = (folder / "05.png").read_bytes()
    (folder / "05.png").write_bytes(whole[: len(whole) // 2])
    message = r"05\.png: .* Received: one that can't be read \(Invalid PNG data, size \d+\)\. Save"
    with pytest.raises(data.DataError, match=message):
        data.load("image_folder", path=folder, size=12)


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_as_others_turn_them(orientation, ending, tmp_path):
    pixels = RNG.integers(0, 256, (4, 6), np.uint8).repeat(8, 0).repeat(8, 1)[:, :-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for i in range(10):
        Image.fromarray(pixels).save(tmp_path / f"{i}{ending}", exif=exif, quality=100)
    dataset = data.load("image_folder", path=tmp_path, size=32)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"0{ending}")), int)
    height, width = upright.shape
    top, left = (height - 32) // 2, (width - 32) // 2
    square = upright[top : top + 32, left : left + 32]
    assert np.abs(np.floor(dataset.test[0, ..., 0]) - square).max() <= (
        4 if ending == ".jpg" else 0
    )
    assert dataset.notes == (
        () if orientation == 1
        else ("10 of the images are turned upright, as their EXIF data say.",)
    )  # fmt: skip


def test_sixteen_bits_are_rounded_to_eight_and_said(folder):
    deep = PIXELS[0].astype(np.uint16) * 257 + RNG.integers(-128, 129, PIXELS[0].shape)
    deep = deep.clip(0, 65535).astype(np.uint16)
    (folder / "00.png").write_bytes(tf.io.encode_png(deep).numpy())
    dataset = data.load("image_folder", path=folder, size=12)
    assert everything(dataset)[0] == sorted(image.tobytes() for image in PIXELS)
    assert dataset.notes == ("16 bits a channel are rounded to 8 in 1 of the images.",)


def test_what_would_be_decoded_wrongly_is_refused_by_name(folder):
    still = Image.fromarray(PIXELS[0])
    still.save(folder / "30.png", save_all=True, append_images=[still.rotate(90)])
    with pytest.raises(data.DataError, match=r"30\.png: .*Received: an animation of 2\."):
        data.load("image_folder", path=folder, size=12)
    (folder / "30.png").unlink()
    still.convert("CMYK").save(folder / "30.jpg")
    with pytest.raises(data.DataError, match=r"30\.jpg: .*grey or RGB image\. Received: CMYK\."):
        data.load("image_folder", path=folder, size=12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 13}, r"00\.png: Expected at least 13x13 pixels\. Received: 12x12"),
        ({"size": 1}, r"size to be at least 2 pixels\. Received: size=1"),
        ({"channels": 4}, r"channels to be 1 .*Received: channels=4"),
        ({"validation": 0.5, "test": 0.5}, r"fractions .*validation=0\.5, test=0\.5"),
        ({"size": 12, "validation": 0.5, "test": 0.45}, r"some of them to train on.*30 in all"),
    ],
)
def test_options_out_of_range_are_refused(options, message, folder):
    with pytest.raises(ValueError, match=message):
        data.load("image_folder", path=folder, **options)


def test_streamed_images_give_the_same_batches_as_held_ones(tmp_path):
    for i, image in enumerate(PIXELS):
        write(tmp_path / ("cats" if i % 3 else "dogs") / f"{i}.png", image)
    options = {"path": tmp_path, "size": 12, "flip": True, "pad_crop": 1}
    held, streamed = (data.load("image_folder", **options, stream=s) for s in (False, True))
    assert held.stream is None and streamed.stream is not None
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(held, part), getattr(streamed, part))
    np.testing.assert_allclose(held.shift, streamed.shift)
    for step in (0, 1, 17):
        expected, labels = held.labelled_batches(16, 3)(step)
        found, classes = streamed.labelled_batches(16, 3)(step)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(classes, labels)
        parts = [streamed.labelled_batches(16, 3, (k, 2))(step) for k in range(2)]
        for index, whole in enumerate((expected, labels)):
            np.testing.assert_array_equal(np.concatenate([p[index] for p in parts]), whole)


def test_many_images_are_decoded_as_one_is(tmp_path):
    sizes = [(12, 12), (12, 20), (31, 16), (40, 40), (13, 12)] * 4
    for i, (height, width) in enumerate(sizes):
        image = RNG.integers(0, 256, (height, width, 3), np.uint8)
        write(tmp_path / f"{i:02}{'.jpg' if i % 3 else '.png'}", image)
    files = folder_module.Files(tmp_path)
    images, _ = encoded.Reader(files, 12, None).read(np.arange(len(files)))
    for i, image in enumerate(images):
        alone = decoding.decode(files.name(i), files.contents(i), 12, None).image
        np.testing.assert_array_equal(image, alone)


def test_large_images_are_streamed_and_held_out_ones_limited(folder, monkeypatch):
    monkeypatch.setattr(encoded, "MEMORY", 10_000)  # bytes: of 30 images 12,960, as float32 2 each
    monkeypatch.setattr(encoded, "SAMPLE", 7)
    dataset = data.load("image_folder", path=folder, size=12)
    assert dataset.training_size == 24 and len(dataset.training_rows()) == 7
    assert (len(dataset.validation), len(dataset.test)) == (3, 3)
    monkeypatch.setattr(encoded, "MEMORY", 4000)
    dataset = data.load("image_folder", path=folder, size=12)
    assert (len(dataset.validation), len(dataset.test)) == (2, 2)
    assert "Of 3 test images 2 are used." in dataset.notes


def test_a_file_that_is_lost_while_training_is_named(folder):
    dataset = data.load("image_folder", path=folder, size=12, stream=True)
    for file in folder.glob("*.png"):
        file.unlink()
    with (
        pytest.raises(data.DataError, match=r"\.png: Expected a readable file\. Received: No such"),
        build.naming_unreadable_files(dataset),
    ):
        dataset.train_batches(16, 0)(0)


def test_a_file_that_goes_bad_while_training_is_to_be_restored(folder):
    """Without it the split would be another one, and the run would be refused."""
    dataset = data.load("image_folder", path=folder, size=12, stream=True)
    for file in folder.glob("*.png"):
        file.write_bytes(file.read_bytes()[:60])
    with (
        pytest.raises(data.DataError, match=r"\.png: Expected a whole .*\)\. Restore it, ") as bad,
        build.naming_unreadable_files(dataset),
    ):
        dataset.train_batches(16, 0)(0)
    assert "elsewhere" not in str(bad.value) and bad.value.path.endswith(".png")


def test_many_folders_in_one_process_bring_no_warning(folder):
    """TensorFlow warns where the same function is traced often."""
    warnings, logger = [], tf.get_logger()
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())
    logger.addHandler(handler)
    try:
        for size in range(2, 8):
            dataset = data.load("image_folder", path=folder, size=size, stream=True)
        for seed in range(6):
            dataset.stream.fetch(np.arange(4), seed)
    finally:
        logger.removeHandler(handler)
    assert warnings == []


def test_too_few_images_or_no_folder_is_said(tmp_path):
    with pytest.raises(data.DataError, match=r"at least 10 PNG or JPEG files.*Received: 0"):
        data.load("image_folder", path=tmp_path)
    with pytest.raises(data.DataError, match=r"nowhere: .*no such folder.*relative ones start in"):
        data.load("image_folder", path=tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"add --config\.data\.path=my/images"):
        build.make_dataset({"data": {"name": "image_folder"}})
