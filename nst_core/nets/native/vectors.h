/* Vectors of eight floats, which the compiler maps to the processor's registers. */

typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int v8i __attribute__((vector_size(32), aligned(4)));

static inline v8 load(const float *p) { return *(const v8 *)p; }
static inline void store(float *p, v8 v) { *(v8 *)p = v; }
/* v where `sign` is positive, and 0 elsewhere. */
static inline v8 where_positive(v8 sign, v8 v) { return (v8)((v8i)(sign > 0) & (v8i)v); }
/* a where `which` is true, and b elsewhere. */
static inline v8 chosen(v8i which, v8 a, v8 b) { return (v8)((which & (v8i)a) | (~which & (v8i)b)); }
