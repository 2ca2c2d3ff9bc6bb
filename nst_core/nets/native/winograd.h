/* The transforms of F(4 x 4, 3 x 3); see winograd.c. */

#pragma once

#include "matrices.h"

enum { SIDE = 6, STEP = 4, FREQUENCIES = 36 };

/* d = B^T s for one row or column of a tile. */
static inline void input_1d(const vec *s, int ss, vec *d, int ds) {
    vec a = s[0], b = s[ss], c = s[2 * ss], e = s[3 * ss], f = s[4 * ss], g = s[5 * ss];
    vec p = f - 4 * c, q = e - 4 * b, r = f - c, t = 2 * (e - b);
    d[0] = 4 * a - 5 * c + f;
    d[ds] = p + q;
    d[2 * ds] = p - q;
    d[3 * ds] = r + t;
    d[4 * ds] = r - t;
    d[5 * ds] = 4 * b - 5 * e + g;
}

/* d = A^T s: six values become four. */
static inline void output_1d(const vec *s, int ss, vec *d, int ds) {
    vec p = s[ss] + s[2 * ss], q = s[ss] - s[2 * ss], r = s[3 * ss] + s[4 * ss], t = s[3 * ss] - s[4 * ss];
    d[0] = s[0] + p + r;
    d[ds] = q + 2 * t;
    d[2 * ds] = p + 4 * r;
    d[3 * ds] = q + 8 * t + s[5 * ss];
}
