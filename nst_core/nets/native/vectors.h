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

/* As many float16 values as a vector has. */
typedef short halves __attribute__((vector_size(2 * N), aligned(2)));

static inline vec load_half(const short *p) {
#if defined __AVX512F__ && N == 16
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined __F16C__ && N == 8
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    veci h = __builtin_convertvector(*(const halves *)p, veci);
    vec size = (vec)((h & 0x7fff) << 13) * 0x1p112f; /* another bias of the exponent */
    return (vec)((veci)size | (h & 0x8000) << 16);
#endif
}

/* Stores the nearest float16 values; what is too large becomes the largest one. */
static inline void store_half(short *p, vec v) {
    const vec most = (vec){0} + 65504;
    v = larger(-most, -larger(-most, -v));
#if defined __AVX512F__ && N == 16
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined __F16C__ && N == 8
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
    veci size = (veci)((vec)((veci)v & 0x7fffffff) * 0x1p-112f);
    size = (size + 0xfff + ((size >> 13) & 1)) >> 13;
    *(halves *)p = __builtin_convertvector(size | ((veci)v >> 16 & 0x8000), halves);
#endif
}
