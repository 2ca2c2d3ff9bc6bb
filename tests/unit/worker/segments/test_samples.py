"""Tests of worker.segments.samples. Stored samples are tested in test_training."""

from worker.segments.samples import named


def test_samples_with_the_same_name_get_different_names() -> None:
    uris = ["s3://b/x/cat.jpg", "s3://b/y/cat.png", "s3://b/x/cat.jpg", "s3://b/dog.jpg", "s3://b/cat-2.jpg"]
    assert named(uris) == {
        "cat": "s3://b/x/cat.jpg",
        "cat-2": "s3://b/y/cat.png",
        "dog": "s3://b/dog.jpg",
        "cat-2-2": "s3://b/cat-2.jpg",
    }
