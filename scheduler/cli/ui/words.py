"""Numbers with their nouns."""


def count_of(number: int, noun: str) -> str:
    """Return a number and its noun: 1 image, 2 images, 1,200 images."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
