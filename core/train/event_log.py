"""Training curves: TensorBoard event files, a CSV table and a page that draws it.

An event file is a sequence of length-framed protobuf messages with masked CRC-32C sums
(tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto). The few fields that
scalars need are written here, so that no package is needed to be readable by TensorBoard.
"""

import csv
import os
import socket
import struct
import time
from pathlib import Path

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


class CurveLog:
    """Appends scalars of a step to all forms; reopening a folder goes on."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._csv = folder / "curve.csv"
        self._page = folder / "curve.html"
        now_s = time.time()
        name = f"events.out.tfevents.{int(now_s)}.{socket.gethostname()}.{os.getpid()}"
        self._events = folder / name
        self._drop_half_a_line()
        self._write_event(_field(3, b"brain.Event:2"), now_s)

    def _drop_half_a_line(self) -> None:
        """What a kill left of a row would run into the next one."""
        if self._csv.exists():
            os.truncate(self._csv, self._csv.read_bytes().rfind(b"\n") + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Writes the values of a step."""
        summary = b"".join(
            _field(1, _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
            for tag, value in values.items()
        )
        self._write_event(b"\x10" + _varint(step) + _field(5, summary), time.time())
        is_new = not self._csv.exists() or not self._csv.stat().st_size
        with self._csv.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "tag", "value"])
            writer.writerows([step, tag, f"{value:.6g}"] for tag, value in values.items())

    def _write_event(self, fields: bytes, now_s: float) -> None:
        data = b"\x09" + struct.pack("<d", now_s) + fields
        length = struct.pack("<Q", len(data))
        with self._events.open("ab") as file:
            file.write(length + struct.pack("<I", _masked_crc(length)))
            file.write(data + struct.pack("<I", _masked_crc(data)))

    def draw(self) -> None:
        """Writes the page with all curves; without plotly there is only the table."""
        try:
            from plotly.subplots import make_subplots
        except ImportError:
            return
        curves: dict[str, tuple[list[int], list[float]]] = {}
        with self._csv.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                steps, values = curves.setdefault(row["tag"], ([], []))
                steps.append(int(row["step"]))
                values.append(float(row["value"]))
        figure = make_subplots(rows=len(curves), cols=1, subplot_titles=list(curves))
        for number, (steps, values) in enumerate(curves.values(), 1):
            figure.add_scatter(x=steps, y=values, row=number, col=1, showlegend=False)
        figure.update_layout(height=260 * len(curves), title="Training curves")
        figure.write_html(self._page, include_plotlyjs=True)
