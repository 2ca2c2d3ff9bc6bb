"""Damaged weights are found by their digests, and the list of the package is complete."""

from hashlib import sha256
from pathlib import Path

from nst_core.digests import assets, is_intact, listed, named


def test_the_list_of_the_package_has_all_weights_as_they_are() -> None:
    files = dict(listed(assets()))
    assert {*files} == {*assets().rglob("*.safetensors")}, "run: make digests"
    assert [path.name for path, digest in files.items() if not is_intact(path, digest)] == [], "run: make digests"


def test_damaged_and_missing_files_are_not_intact(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{sha256(b'good').hexdigest()}  a.safetensors\n{'0' * 64}  b.safetensors\n")
    (tmp_path / "a.safetensors").write_bytes(b"good")
    assert [is_intact(path, digest) for path, digest in listed(tmp_path)] == [True, False]
    (tmp_path / "a.safetensors").write_bytes(b"goof")
    assert [is_intact(path, digest) for path, digest in listed(tmp_path)] == [False, False]


def test_files_of_torchvision_have_their_digest_in_their_name(tmp_path: Path) -> None:
    digest = sha256(b"good").hexdigest()[:8]
    good, bad = tmp_path / f"vgg19-{digest}.pth", tmp_path / "vgg19-00000000.pth"
    for path in (good, bad, tmp_path / "mine.pth"):
        path.write_bytes(b"good")
    assert [(path, is_intact(path, digest)) for path, digest in named(tmp_path)] == [(bad, False), (good, True)]
    assert list(named(good)) == [(good, digest)]
    assert list(named(tmp_path / "nowhere")) == []
