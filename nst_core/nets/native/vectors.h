/* Vectors of N floats, which the compiler maps to the processor's registers. */

#pragma once

#ifndef N
#ifdef __AVX512F__
#define N 16
#else
#define N 8
#endif
#endif

typedef float vec __attribute__((vector_size(4 * N), aligned(4)));
typedef int veci __attribute__((vector_size(4 * N), aligned(4)));

#ifdef __x86_64__
#include <immintrin.h>
#endif

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }
/* Stores a vector at an address that is a multiple of its size, around the cache. */
static inline void stream(float *p, vec v) {
#if defined __AVX512F__ && N == 16
    _mm512_stream_ps(p, (__m512)v);
#elif defined __AVX__ && N == 8
    _mm256_stream_ps(p, (__m256)v);
#else
    store(p, v);
#endif
}
/* v where `sign` is positive, and 0 elsewhere. */
static inline vec where_positive(vec sign, vec v) { return (vec)((veci)(sign > 0) & (veci)v); }
/* a where `which` is true, and b elsewhere. */
static inline vec chosen(veci which, vec a, vec b) { return (vec)((which & (veci)a) | (~which & (veci)b)); }
/* The larger of two values, and b where one of them is not a number. */
static inline vec larger(vec a, vec b) {
#if defined __AVX512F__ && N == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined __AVX__ && N == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return chosen(a > b, a, b);
#endif
}
