/* Weights as 16-bit integers with scales; see integers.h. */

#include "integers.h"

#include <math.h>

/* Weights, blocks x rows x products x COLUMNS, become pairs of integers, blocks x rows x half of the products x COLUMNS
   x 2, with `scales` for each column of a block. An odd product at the end is paired with 0. A sum over a row, times
   LARGEST, has 31 bits at most. */
int to_integers(const float *w, short *values, float *scales, long blocks, long rows, long products, int threads) {
    long pairs = ceil_div(products, 2);
    const float most_of_sum = 2147483648.f / LARGEST - products, most = 32767;
#pragma omp parallel for num_threads(threads)
    for (long block = 0; block < blocks; block++) {
        const float *from = w + block * rows * products * COLUMNS;
        for (long c = 0; c < COLUMNS; c += N) {
            vec scale = {0}, zero = {0};
            for (long r = 0; r < rows; r++) {
                vec sum = {0};
                for (long i = 0; i < products; i++) {
                    vec size = size_of(load(from + (r * products + i) * COLUMNS + c));
                    sum += size;
                    scale = larger(size / most, scale);
                }
                scale = larger(sum / most_of_sum, scale);
            }
            scale = chosen(scale > 0, scale, zero + 1);
            store(scales + block * COLUMNS + c, scale);
            for (long i = 0; i < rows * pairs; i++) {
                long product = i % pairs * 2;
                const float *pair = from + (i / pairs * products + product) * COLUMNS + c;
                vec second = product + 1 < products ? load(pair + COLUMNS) : zero;
                short *to = values + (block * rows * pairs + i) * 2 * COLUMNS + 2 * c;
                *(veci *)to = rounded_pairs(load(pair) / scale, second / scale);
            }
        }
    }
    return 0;
}
