/* Gradients by the kernels of convolutions of any size and stride, of float32 maps in channels_last.

   In a row of the input, the values that one row of a kernel meets lie one after the other. So the gradient is a sum of
   products of matrices of the maps as they are. */

#include <stdlib.h>
#include <string.h>

#include "matrices.h"

enum { BANDS = 4 }; /* of each image, which are added up in order, so that the sum is that of any number of threads */

/* The gradient of the kernels, side x side x c_in x c_out, given the input x, with its padding, and the gradient g of
   the result. c_out is a multiple of COLUMNS, and side * c_in is at least ROWS. Returns whether memory was missing. */
int direct_kernel_gradient(const float *x, const float *g, float *dw, long images, long height, long width, long c_in,
                           long c_out, long side, long stride, int threads) {
    long rows = (height - side) / stride + 1, columns = (width - side) / stride + 1, taps = side * c_in;
    long blocks = ceil_div(taps, ROWS), line = blocks * ROWS * c_out, size = side * line;
    long bands = images * BANDS, share = ceil_div(rows, BANDS);
    float *sums = aligned_alloc(64, ceil_div(bands * size * sizeof(float), 64) * 64);
    if (!sums) return 1;
    memset(sums, 0, bands * size * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long band = 0; band < bands; band++) {
        long image = band / BANDS, first = band % BANDS * share, last = first + share < rows ? first + share : rows;
        for (long row = first; row < last; row++)
            for (long y = 0; y < side; y++)
                for (long block = 0; block < blocks; block++) {
                    /* The last block overlaps the one before. */
                    long tap = block * ROWS < taps - ROWS ? block * ROWS : taps - ROWS;
                    const float *a = x + (image * height + row * stride + y) * width * c_in + tap;
                    const float *b = g + (image * rows + row) * columns * c_out;
                    float *c = sums + band * size + y * line + block * ROWS * c_out;
                    for (long o = 0; o < c_out; o += COLUMNS)
                        outer(a, stride * c_in, b + o, c_out, columns, c + o, c_out);
                }
    }
#pragma omp parallel for num_threads(threads)
    for (long y = 0; y < side; y++)
        for (long tap = 0; tap < taps; tap++)
            for (long o = 0; o < c_out; o++) {
                long at = tap < (blocks - 1) * ROWS ? tap : tap - (taps - ROWS) + (blocks - 1) * ROWS;
                float sum = 0;
                for (long band = 0; band < bands; band++) sum += sums[band * size + y * line + at * c_out + o];
                dw[(y * taps + tap) * c_out + o] = sum;
            }
    free(sums);
    return 0;
}
