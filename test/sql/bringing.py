"""Frames for import_batch() (extension/protocol.h)."""
import struct


def text(value):
    return struct.pack(">I", len(value)) + value + b"\0"


def record(id, stream, position, global_position, time=0, data='{"n": 1.50}'):
    return (b"\0" + id.bytes + text(stream.encode()) + text(b"T") +
            struct.pack(">qqq", position, global_position, time) + text(data.encode()) + b"\xff\xff\xff\xff")


def frame(records):
    return b"\2" + struct.pack(">I", len(records)) + b"".join(record(*each) for each in records)
