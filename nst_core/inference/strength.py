"""How strongly a network paints, and its picture is mixed with the photo, so that a job's strength looks even.

If the network of a style has the identity too, a blend of the two paints less (`nets.families`). Strokes stay whole and
become weaker, where a cross-fade shows strokes and the photo's texture at once. The identity dulls the photo's colours,
so the picture is also mixed with the photo. The stronger the style, the less of the photo is mixed in.
"""


def painted_share(strength: float, *, fades: bool) -> float:
    """Return the share of the style, of which the identity has the rest, for a strength of 0 to 1.

    `fades`: the network has the identity.
    """
    return strength if fades else 1.0


def mixed_share(strength: float, *, fades: bool) -> float:
    """Return the share of the painted picture, of which the photo has the rest: the `strength` of `blend.blend`.

    1 - (1 - strength)^2 is 0 for 0, so that the result is the photo, and nearly 1 from a strength of 0.75 on.
    """
    return strength * (2 - strength) if fades else strength
