/* Instance normalisation of float32 maps in channels_last, with ReLU if `relu`; see `transformer.InstanceNorm`.

   Weight and bias are for all images, or each image has its `own`. GROUP channels are computed at once, which stay in
   the cache from one pass over the positions to the next. Channels are a multiple of GROUP. The results do not depend
   on the number of threads. */

#include <math.h>

#include "vectors.h"

enum { GROUP = 16, PARTS = GROUP / N, RUN = 256 };

/* Adds up a run in float32; the runs are added up in float64. */
static inline void add_run(double *sums, vec *run) {
    for (int c = 0; c < GROUP; c++) sums[c] += run[c / N][c % N];
    for (int k = 0; k < PARTS; k++) run[k] = (vec){0};
}

static inline long end_of(long start, long positions) { return start + RUN < positions ? start + RUN : positions; }

int normalize(const float *x, const float *weight, const float *bias, float *y, float *mean, float *inverse,
              long images, long positions, long channels, long own, double eps, double rounding, long relu,
              int threads) {
#pragma omp parallel for collapse(2) num_threads(threads)
    for (long n = 0; n < images; n++)
        for (long c = 0; c < channels; c += GROUP) {
            const float *from = x + n * positions * channels + c;
            float *to = y + n * positions * channels + c;
            vec centre[PARTS], scale[PARTS], shift[PARTS], run[PARTS] = {{0}};
            double sums[GROUP] = {0}, squares[GROUP] = {0};
            for (long start = 0; start < positions; start += RUN) {
                for (long i = start; i < end_of(start, positions); i++)
                    for (int k = 0; k < PARTS; k++) run[k] += load(from + i * channels + k * N);
                add_run(sums, run);
            }
            for (int k = 0; k < GROUP; k++) centre[k / N][k % N] = sums[k] / positions;
            for (long start = 0; start < positions; start += RUN) {
                for (long i = start; i < end_of(start, positions); i++)
                    for (int k = 0; k < PARTS; k++) {
                        vec d = load(from + i * channels + k * N) - centre[k];
                        run[k] += d * d;
                    }
                add_run(squares, run);
            }
            for (int k = 0; k < GROUP; k++) {
                float m = centre[k / N][k % N], variance = squares[k] / positions;
                float one = variance > rounding * m * m ? 1 / sqrt(variance + eps) : 0;
                mean[n * channels + c + k] = m;
                inverse[n * channels + c + k] = one;
                scale[k / N][k % N] = one * weight[own * n * channels + c + k];
                shift[k / N][k % N] = bias[own * n * channels + c + k];
            }
            for (long i = 0; i < positions; i++)
                for (int k = 0; k < PARTS; k++) {
                    vec value = (load(from + i * channels + k * N) - centre[k]) * scale[k] + shift[k];
                    store(to + i * channels + k * N, relu ? where_positive(value, value) : value);
                }
        }
    return 0;
}

/* The gradients of x, and those of weight and bias for each image; y is the result. */
int normalize_gradient(const float *g, const float *x, const float *y, const float *weight, const float *mean,
                       const float *inverse, float *dx, float *dweight, float *dbias, long images, long positions,
                       long channels, long own, long relu, int threads) {
#pragma omp parallel for collapse(2) num_threads(threads)
    for (long n = 0; n < images; n++)
        for (long c = 0; c < channels; c += GROUP) {
            long at = n * positions * channels + c;
            vec centre[PARTS], one[PARTS], scale[PARTS], constant[PARTS], slope[PARTS];
            vec run[PARTS] = {{0}}, products[PARTS] = {{0}};
            double sums[GROUP] = {0}, moments[GROUP] = {0};
            for (int k = 0; k < PARTS; k++) {
                centre[k] = load(mean + n * channels + c + k * N);
                one[k] = load(inverse + n * channels + c + k * N);
                scale[k] = one[k] * load(weight + own * n * channels + c + k * N);
            }
            for (long start = 0; start < positions; start += RUN) {
                for (long i = start; i < end_of(start, positions); i++)
                    for (int k = 0; k < PARTS; k++) {
                        long here = at + i * channels + k * N;
                        vec d = relu ? where_positive(load(y + here), load(g + here)) : load(g + here);
                        run[k] += d;
                        products[k] += d * (load(x + here) - centre[k]) * one[k];
                    }
                add_run(sums, run);
                add_run(moments, products);
            }
            for (int k = 0; k < GROUP; k++) {
                dbias[n * channels + c + k] = sums[k];
                dweight[n * channels + c + k] = moments[k];
                constant[k / N][k % N] = sums[k] / positions;
                slope[k / N][k % N] = moments[k] / positions;
            }
            for (long i = 0; i < positions; i++)
                for (int k = 0; k < PARTS; k++) {
                    long here = at + i * channels + k * N;
                    vec d = relu ? where_positive(load(y + here), load(g + here)) : load(g + here);
                    vec normal = (load(x + here) - centre[k]) * one[k];
                    store(dx + here, (d - constant[k] - normal * slope[k]) * scale[k]);
                }
        }
    return 0;
}
