"""How strongly a network paints, and its picture is mixed with the photo, so that a job's strength looks even.

A style that has the identity beside it is painted less by a blend of the two (`nets.families`): strokes stay whole and
become weaker, where a cross-fade shows strokes and the photo's texture at once. The identity is no exact copy of the
photo, whose colours it dulls, so the picture is mixed with the photo too, and the less the more there is of the style.
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
