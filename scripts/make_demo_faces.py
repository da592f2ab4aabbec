"""Draw the sample faces of the wheel and write them to emotion_ops/demo/faces.parquet.

    python scripts/make_demo_faces.py

The same versions of NumPy and Pillow give the same images. A test compares them with the file.
"""

import pyarrow as pa
import pyarrow.parquet as pq
from drawn_faces import faces_table

from emotion_ops.demo import FACES_FILE

SEED, FACES, SIZE = 2026, 21, 224
QUALITY = 70  # of the JPEG files: 5 kB a face; more would only make the wheel larger


def demo_faces() -> pa.Table:
    """Return the table that the file has."""
    return faces_table(FACES, seed=SEED, size=SIZE, quality=QUALITY)


if __name__ == "__main__":
    pq.write_table(demo_faces(), FACES_FILE)  # no compression: JPEG files are compressed
    print(f"{FACES_FILE}: {FACES} faces, {FACES_FILE.stat().st_size / 1000:.0f} kB")
