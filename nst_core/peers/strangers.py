"""What a file is that is no checkpoint we can read, in one sentence that also says what to do about it."""

import struct
import zipfile

#: Bytes at the end of the index files of TensorFlow's checkpoints, and of all of its oldest ones.
_TABLE_FOOTER = struct.pack("<Q", 0xDB4775248B80FB57)
#: How to save the variables of a TensorFlow checkpoint in a form that can be imported.
TENSORFLOW_HINT = (
    'convert it where TensorFlow is installed: python -c "import sys, numpy, tensorflow as tf; '
    "r = tf.train.load_checkpoint(sys.argv[1]); "
    "numpy.savez('style.npz', **{k: r.get_tensor(k) for k in r.get_variable_to_shape_map()})\" CHECKPOINT, "
    "and import style.npz"
)
_TENSORFLOW = "is a checkpoint of TensorFlow, which nst does not read: " + TENSORFLOW_HINT
#: How to save the tensors of a PyTorch network alone.
TORCH_HINT = "in the program that made it, run torch.save(network.state_dict(), FILE) and import that file"
_ARCHIVE = "is an archive: unpack it and import the checkpoint in it"
_PICTURE = "is a picture, not a checkpoint"
# The first bytes of files, and the end of a sentence about them. Numbers are little-endian.
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is only a pointer of Git LFS: run git lfs pull, or download the file itself"),
    (b"model_checkpoint_path", _TENSORFLOW),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras saves: nst reads .npz, .safetensors and files of torch.save"),
    (b"\x03\0\0\0\x01\0\0\0", "is a file of Lua Torch 7, which nst does not read: look for a PyTorch version of it"),
    (b"\x04\0\0\0\x01\0\0\0", "is a file of Lua Torch 7, which nst does not read: look for a PyTorch version of it"),
    (b"GGUF", "is a GGUF file, which holds no network of this kind"),
    (b"\x93NUMPY", "is a single array of NumPy: save all tensors together with numpy.savez"),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ\0", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"\x89PNG", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"RIFF", _PICTURE),
    (b"%PDF", "is a PDF document, not a checkpoint"),
)
_ONNX = "is an ONNX file, which nst does not read: import the PyTorch checkpoint that it was exported from"


def describe(data: bytes) -> str:
    """Return the rest of a sentence that begins with the name of a file: what it is, and what to do; no full stop."""
    if not data:
        return "is no checkpoint: it is empty"
    for start, sentence in _STARTS:
        if data.startswith(start):
            return sentence
    head = data[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<") and (b"<html" in head or b"<!doctype html" in head):
        return "is a web page, not a checkpoint: download the file itself, which may need a login"
    if data.endswith(_TABLE_FOOTER):
        return _TENSORFLOW
    if data[257:262] == b"ustar":
        return _ARCHIVE
    if data[4:8] == b"TFL3":
        return "is a TensorFlow Lite file, which nst does not read"
    # The first field of ONNX's message is a small version number, and the second one a text.
    if len(data) > 2 and data[0] == 0x08 and 0 < data[1] < 0x20 and data[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a"):
        return _ONNX
    text = _as_text(data[:200])
    if text:
        return f"is no checkpoint: it is a text that begins with {text!r}"
    return "is no checkpoint: it is neither safetensors, nor .npz, nor a file of torch.save"


def describe_zip(archive: zipfile.ZipFile) -> str | None:
    """Return the same for a zip archive; None if it may be a file of torch.save."""
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        return f"is a TorchScript archive, which holds code, and nst runs none: {TORCH_HINT}"
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return None
    files = [name for name in names if not name.endswith("/")]
    if not files:
        return "is damaged: it is a zip archive without files"
    shown = ", ".join(ascii(name)[1:-1] for name in files[:3]) + (" and more" if len(files) > 3 else "")
    return f"is a zip archive that holds {shown[:200]}: unpack it and import the checkpoint in it"


def is_tensorflow_name(name: str) -> bool:
    """Return whether a file is called as a part of a TensorFlow checkpoint is that has nothing to be known by."""
    last = name.rpartition("/")[2]
    return ".data-000" in last or last.endswith((".ckpt", ".ckpt.meta", ".ckpt.index", "saved_model.pb"))


def _as_text(data: bytes) -> str:
    """Return the first line of a text, shortened; nothing if the bytes are no text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return ""
    line = text.strip().partition("\n")[0].strip()
    return line[:40]
