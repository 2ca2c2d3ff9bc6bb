/* Vectors of N floats, which the compiler maps to the processor's registers. */

#ifndef N
#ifdef __AVX512F__
#define N 16
#else
#define N 8
#endif
#endif

typedef float vec __attribute__((vector_size(4 * N), aligned(4)));
typedef int veci __attribute__((vector_size(4 * N), aligned(4)));

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }
/* v where `sign` is positive, and 0 elsewhere. */
static inline vec where_positive(vec sign, vec v) { return (vec)((veci)(sign > 0) & (veci)v); }
/* a where `which` is true, and b elsewhere. */
static inline vec chosen(veci which, vec a, vec b) { return (vec)((which & (veci)a) | (~which & (veci)b)); }
