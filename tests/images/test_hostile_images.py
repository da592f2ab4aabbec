"""A file that would cost too much is its row's error before it costs anything, without a warning."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from hostile import hostile_images
from pictures import encode, jpeg, photo

from emotion_ops import ClassifyEmotions, Decoding, OptionError, RowError
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.formats import open_encoded
from emotion_ops.images.limits import Limits
from emotion_ops.images.quiet import quiet
from emotion_ops.images.rgb import upright_rgb

DECODE_ALL = """
import pickle, re, sys, time
from pathlib import Path
from typing import Any
from emotion_ops.errors import RowError
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.limits import Limits

def megabytes(line):
    return int(re.search(line + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

decoder, found = ImageDecoder(Limits(), None), {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    encoded = path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before, started = megabytes("VmRSS"), time.process_time()
    try:
        decoder(encoded, lambda amount: None)
        error = None
    except RowError as failed:
        error = str(failed)
    found[path.name] = error, megabytes("VmHWM") - before, time.process_time() - started
    del encoded
sys.stdout.buffer.write(pickle.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, which reports the peak of memory")
def test_hostile_files_are_their_rows_error_and_use_little_memory_and_time(tmp_path: Path) -> None:
    images = hostile_images()
    for name, (encoded, _) in images.items():
        (tmp_path / name).write_bytes(encoded)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", DECODE_ALL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"Warning" not in done.stderr
    found = pickle.loads(done.stdout)
    codes = {name: error and error.partition(":")[0] for name, (error, _, _) in found.items()}
    assert codes == {name: code for name, (_, code) in images.items()}
    assert all(len(error) < 300 and error.isprintable() for error, _, _ in found.values() if error)
    most = {name: round(megabytes) for name, (_, megabytes, _) in found.items() if megabytes > 40}
    assert most == {}, "megabytes above the encoded file"
    assert {name: seconds for name, (_, _, seconds) in found.items() if seconds > 1} == {}


def test_sides_and_frames_have_their_own_limits() -> None:
    frames = {"save_all": True, "append_images": [photo(seed) for seed in range(4)]}
    for form in ("PNG", "WEBP", "GIF", "TIFF", "AVIF"):
        encoded = encode(photo(9), form, **frames)
        assert upright_rgb(open_encoded(encoded, Limits(max_frames=5))).size == (97, 131)
        with pytest.raises(RowError, match=r"^too_large: 5 frames or more, more than max_frames=4$"):
            open_encoded(encoded, Limits(max_frames=4))
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"):
        encoded = encode(photo(), form)
        assert upright_rgb(open_encoded(encoded, Limits(max_side=131))).size == (97, 131)
        with pytest.raises(RowError, match=r"^too_large: 97 × 131 pixels, a side longer than max_side=130$"):
            open_encoded(encoded, Limits(max_side=130))
        with pytest.raises(RowError, match=r"^too_large: 97 × 131 pixels, more than max_pixels=12,706$"):
            open_encoded(encoded, Limits(max_pixels=97 * 131 - 1))


def test_the_first_image_of_an_album_is_decoded_as_if_it_were_alone() -> None:
    album, alone = hostile_images()["JPEG that says it is an album"][0], encode(photo(1), "JPEG")
    decoder = ImageDecoder(Limits(), None)
    assert (decoder(album, lambda amount: None) == decoder(alone, lambda amount: None)).all()


def test_a_truncated_file_of_any_format_is_undecodable() -> None:
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"):
        encoded = encode(photo(), form)
        for part in (0.1, 0.5, 0.9):
            with pytest.raises(RowError, match=r"^undecodable: broken "):
                upright_rgb(open_encoded(encoded[: int(len(encoded) * part)], Limits()))


def test_a_users_filter_that_turns_warnings_into_errors_fails_no_row() -> None:
    header = encode(photo(), "GIF")
    frame = header.index(b"," + bytes(4)) + 5
    large = header[:frame] + (9500).to_bytes(2, "little") + (9900).to_bytes(2, "little") + header[frame + 4 :]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        assert open_encoded(large, Limits()).size == (9500, 9900)  # more than Pillow warns of
        warnings.simplefilter("error")
        assert open_encoded(large, Limits()).size == (9500, 9900)
    assert caught == []


def test_only_the_thread_that_decodes_is_quiet() -> None:
    heard: list[bool] = []

    def other() -> None:
        try:
            warnings.warn("from another thread", stacklevel=1)
        except UserWarning:
            heard.append(True)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn("from this thread", stacklevel=1)
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        with pytest.raises(UserWarning):
            warnings.warn("after the block", stacklevel=1)
    assert heard == [True]


@pytest.mark.parametrize(
    ("group", "option", "value"),
    [(Limits, "max_side", 0), (Limits, "max_frames", True), (Decoding, "isolation", "fork"),
     (Decoding, "timeout", 0), (Decoding, "timeout", "1 s"), (Decoding, "timeout", float("nan")),
     (Decoding, "memory", -1)],
)  # fmt: skip
def test_limits_that_cannot_be_used_are_refused_at_once(group: Any, option: str, value: object) -> None:
    with pytest.raises(OptionError, match=rf"^{group.__name__}\.{option}=.* cannot be used: give "):
        group(**{option: value})


def test_limits_are_part_of_the_identity_and_isolation_is_not(tiny_model: str) -> None:
    """After a decoder has crashed a job, the job can be resumed with processes."""

    def identity(**options: Any) -> dict[str, Any]:
        return ClassifyEmotions(model=tiny_model, **options).identity()

    assert identity(limits=Limits(max_side=100)) != identity()
    assert identity(limits=Limits(max_frames=100)) != identity()
    assert identity(decoding=Decoding(isolation="process", timeout=3, memory=2**30)) == identity()


def test_a_strip_that_would_be_resized_to_too_many_pixels_is_refused() -> None:
    from PIL import Image

    from emotion_ops.images.resize import Resize

    shortest = Resize(224, Image.Resampling.BILINEAR, (224, 224))
    with pytest.raises(RowError, match="too_large: 1 × 60,000 pixels would be resized to 224 × 13,440,000"):
        ImageDecoder(Limits(), shortest)(encode(Image.new("L", (1, 60_000))), lambda amount: None)
    assert ImageDecoder(Limits(), shortest)(jpeg(0, 30, 900), lambda amount: None).shape == (224, 224, 3)
