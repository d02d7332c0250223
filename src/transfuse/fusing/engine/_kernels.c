/* The hot loops of fusing: numbers of bfloat16, float16 or float32 in, the same out, float32 between.
 *
 * Plain C without Python: `fusing/kernels.py` calls it through ctypes, which lets go of the interpreter's lock. It does
 * what `fusing/weights/` says more readably, to float32 rounding. Every function walks over tiles that stay in the first
 * cache; sums run over fixed lanes, and nothing is contracted, so that the bits do not depend on the processor.
 *
 * Masks: Threefry-2x32, 13 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011); see
 * `fusing/weights/masks.py`.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define HOT __attribute__((target_clones("default", "avx2", "arch=x86-64-v4"))) /* which one is chosen at the start */
#else
#define HOT
#endif
#define INNER static inline __attribute__((always_inline))

enum { TILE = 1024, LANES = 32, MOST = 16, BINS = 65536 };
enum { FLOAT32, FLOAT16, BFLOAT16 };
enum { SUM, AGREED_SUM, AGREED_MEAN };
enum { FINE = 0, TOO_LARGE = -1 }; /* or 1 + the number of the tensor that is not finite, the base after the parents */

typedef struct {
    const void *data;
    int64_t type;
    uint64_t key;   /* of its mask */
    uint64_t limit; /* words of the mask below it are kept; at least 2^32: there is no mask */
    float weight;
    float least; /* smaller differences are dropped */
    float divisor, factor; /* of what is kept */
} Parent;

INNER float as_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INNER uint32_t as_bits(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }

INNER float of_half(uint16_t half) {
    uint32_t magnitude = as_bits(as_float((uint32_t)(half & 0x7fff) << 13) * 0x1p112f);
    magnitude = (half & 0x7c00) == 0x7c00 ? 0x7f800000u | (uint32_t)(half & 0x3ff) << 13 : magnitude;
    return as_float(magnitude | (uint32_t)(half & 0x8000) << 16);
}

INNER uint16_t to_half(float x) { /* to nearest, ties to even; what is too large becomes infinite */
    uint32_t bits = as_bits(x), magnitude = bits & 0x7fffffff;
    uint32_t small = as_bits(as_float(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t normal = (magnitude - 0x38000000u + 0xfff + (magnitude >> 13 & 1)) >> 13;
    uint32_t found = magnitude < 0x38800000u ? small : normal;
    found = magnitude >= 0x477ff000u ? 0x7c00u : found;
    return (uint16_t)(found | (bits >> 16 & 0x8000));
}

/* Numbers of a tensor as float32; whether all are finite. */
INNER int load(float *x, const void *data, int64_t type, int64_t start, int n) {
    uint32_t strange = 0;
    if (type == FLOAT32) {
        memcpy(x, (const float *)data + start, (size_t)n * 4);
    } else if (type == FLOAT16) {
        const uint16_t *from = (const uint16_t *)data + start;
        for (int i = 0; i < n; i++) x[i] = of_half(from[i]);
    } else {
        const uint16_t *from = (const uint16_t *)data + start;
        for (int i = 0; i < n; i++) x[i] = as_float((uint32_t)from[i] << 16);
    }
    for (int i = 0; i < n; i++) strange |= (as_bits(x[i]) & 0x7f800000u) == 0x7f800000u;
    return !strange;
}

/* float32 to the type of the result; whether all were finite and still are. */
INNER int store(void *data, int64_t type, int64_t start, const float *x, int n) {
    uint32_t strange = 0;
    if (type == FLOAT32) {
        memcpy((float *)data + start, x, (size_t)n * 4);
        for (int i = 0; i < n; i++) strange |= (as_bits(x[i]) & 0x7f800000u) == 0x7f800000u;
    } else {
        uint16_t *to = (uint16_t *)data + start;
        uint32_t full = type == FLOAT16 ? 0x7c00 : 0x7f80;
        if (type == FLOAT16)
            for (int i = 0; i < n; i++) to[i] = to_half(x[i]);
        else
            for (int i = 0; i < n; i++) {
                uint32_t bits = as_bits(x[i]);
                to[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
            }
        for (int i = 0; i < n; i++) strange |= (to[i] & full) == full;
    }
    return !strange;
}

/* The words of a tile: of TILE / 2 counters from `first` on the first words, then the second ones. */
INNER void threefry(uint32_t words[TILE], uint64_t first, uint64_t key) {
    const int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32), keys[3] = {k0, k1, 0x1BD11BDAu ^ k0 ^ k1};
    for (int i = 0; i < TILE / 2; i++) {
        uint64_t counter = first + (uint64_t)i;
        uint32_t x0 = (uint32_t)counter + k0, x1 = (uint32_t)(counter >> 32) + k1;
#pragma GCC unroll 13
        for (int round = 0; round < 13; round++) {
            int turn = turns[round % 8], s = round / 4 + 1;
            x0 += x1;
            x1 = (x1 << turn | x1 >> (32 - turn)) ^ x0;
            if (round % 4 == 3) x0 += keys[s % 3], x1 += keys[(s + 1) % 3] + (uint32_t)s;
        }
        words[i] = x0, words[i + TILE / 2] = x1;
    }
}

/* Zero where the mask of a parent drops; `element` is the number of x[0] in its tensor, a multiple of TILE. */
INNER void masked(float *x, const Parent *parent, int64_t element, int n) {
    uint32_t words[TILE], limit = (uint32_t)parent->limit;
    threefry(words, (uint64_t)element / 2, parent->key);
    for (int i = 0; i < n; i++) x[i] = words[i] < limit ? x[i] : 0.0f;
}

/* What is kept of the difference to the base, before it is made larger again. */
INNER void thinned(float *x, const Parent *parent, int64_t element, int n) {
    float least = parent->least;
    if (least > 0)
        for (int i = 0; i < n; i++) x[i] = fabsf(x[i]) >= least ? x[i] : 0.0f;
    if (parent->limit == 0)
        for (int i = 0; i < n; i++) x[i] = 0.0f;
    else if (parent->limit <= UINT32_MAX)
        masked(x, parent, element, n);
}

/* Differences of one tile to the base (or the tile itself); 0, or what is not finite. */
INNER int difference(float *x, const Parent *parents, int which, const float *base, int64_t start, int n) {
    if (!load(x, parents[which].data, parents[which].type, start, n)) return 1 + which;
    if (base)
        for (int i = 0; i < n; i++) x[i] -= base[i];
    return FINE;
}

/* Every parent's weighted, thinned tile, and their sum. */
INNER int scaled(float x[MOST][TILE], float *total, const Parent *parents, int count, const float *base, int64_t element,
                 int64_t start, int n) {
    for (int p = 0; p < count; p++) {
        int wrong = difference(x[p], parents, p, base, start, n);
        if (wrong) return wrong;
        thinned(x[p], &parents[p], element + start, n);
        float divisor = parents[p].divisor, factor = parents[p].factor, weight = parents[p].weight;
        if (divisor != 1)
            for (int i = 0; i < n; i++) x[p][i] /= divisor;
        if (factor != 1)
            for (int i = 0; i < n; i++) x[p][i] *= factor;
        for (int i = 0; i < n; i++) x[p][i] *= weight;
        for (int i = 0; i < n; i++) total[i] = p ? total[i] + x[p][i] : x[p][i];
    }
    return FINE;
}

/* The sum of what has the sign of the whole sum, or its mean; `tie` is the sign of zero. */
INNER void agreed(float *total, float x[MOST][TILE], const Parent *parents, int count, int how, float tie, int n) {
    float sign[TILE], kept[TILE], divisor[TILE];
    for (int i = 0; i < n; i++) sign[i] = (tie > 0 ? total[i] >= 0 : total[i] > 0) ? 1.0f : -1.0f;
    memset(kept, 0, sizeof kept);
    memset(divisor, 0, sizeof divisor);
    for (int p = 0; p < count; p++) {
        float weight = parents[p].weight;
        for (int i = 0; i < n; i++) {
            float along = x[p][i] * sign[i];
            kept[i] += along > 0 ? along : 0.0f;
            divisor[i] += along > 0 ? weight : 0.0f;
        }
    }
    for (int i = 0; i < n; i++) total[i] = kept[i] * sign[i];
    if (how == AGREED_MEAN)
        for (int i = 0; i < n; i++) total[i] /= fabsf(divisor[i]) < 1e-8f ? 1.0f : divisor[i];
}

/* One block of the result: Σ w·x without a base, else base + scale · (what is kept of the w·(x − base)).
 * `element` is the number of the block's first element in its tensor. */
HOT int transfuse_merge(const Parent *parents, int count, const Parent *base, int64_t element, int64_t size, int how,
                        float tie, float scale, void *out, int64_t type) {
    float x[MOST][TILE], b[TILE], total[TILE];
    for (int64_t start = 0; start < size; start += TILE) {
        int n = size - start < TILE ? (int)(size - start) : TILE;
        if (base && !load(b, base->data, base->type, start, n)) return 1 + count;
        int wrong = scaled(x, total, parents, count, base ? b : 0, element, start, n);
        if (wrong) return wrong;
        if (how != SUM) agreed(total, x, parents, count, how, tie, n);
        if (base)
            for (int i = 0; i < n; i++) total[i] = b[i] + scale * total[i];
        if (!store(out, type, start, total, n)) return TOO_LARGE;
    }
    return FINE;
}

/* How many elements elect a positive sign, less those that elect a negative one; added to `votes`. */
HOT int transfuse_votes(const Parent *parents, int count, const Parent *base, int64_t element, int64_t size,
                        int64_t *votes) {
    float x[MOST][TILE], b[TILE], total[TILE];
    for (int64_t start = 0; start < size; start += TILE) {
        int n = size - start < TILE ? (int)(size - start) : TILE, sum = 0;
        if (!load(b, base->data, base->type, start, n)) return 1 + count;
        int wrong = scaled(x, total, parents, count, b, element, start, n);
        if (wrong) return wrong;
        for (int i = 0; i < n; i++) sum += (total[i] > 0) - (total[i] < 0);
        *votes += sum;
    }
    return FINE;
}

INNER double dot(const float *a, const float *b, int n) {
    float lanes[LANES] = {0};
    double sum = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += a[i + l] * b[i + l];
    for (; i < n; i++) lanes[i % LANES] += a[i] * b[i];
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}

/* Inner products of the parents, or of their differences to the base; added to `gram` (count x count, upper half). */
HOT int transfuse_products(const Parent *parents, int count, const Parent *base, int64_t size, double *gram) {
    float x[MOST][TILE], b[TILE];
    for (int64_t start = 0; start < size; start += TILE) {
        int n = size - start < TILE ? (int)(size - start) : TILE;
        if (base && !load(b, base->data, base->type, start, n)) return 1 + count;
        for (int p = 0; p < count; p++) {
            int wrong = difference(x[p], parents, p, base ? b : 0, start, n);
            if (wrong) return wrong;
            for (int q = 0; q <= p; q++) gram[q * count + p] += dot(x[q], x[p], n);
        }
    }
    return FINE;
}

INNER double length(const float *x, int n) {
    float lanes[LANES] = {0};
    double sum = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += fabsf(x[i + l]);
    for (; i < n; i++) lanes[i % LANES] += fabsf(x[i]);
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}

/* L1 norms of every parent's difference, and of what is kept of it; added to `norms` (count x 2). */
HOT int transfuse_norms(const Parent *parents, int count, const Parent *base, int64_t element, int64_t size,
                        double *norms) {
    float x[TILE], b[TILE];
    for (int64_t start = 0; start < size; start += TILE) {
        int n = size - start < TILE ? (int)(size - start) : TILE;
        if (!load(b, base->data, base->type, start, n)) return 1 + count;
        for (int p = 0; p < count; p++) {
            int wrong = difference(x, parents, p, b, start, n);
            if (wrong) return wrong;
            norms[2 * p] += length(x, n);
            thinned(x, &parents[p], element + start, n);
            norms[2 * p + 1] += length(x, n);
        }
    }
    return FINE;
}

/* How often which upper 16 bits of the magnitude of a difference occur (`bins` null), or which lower 16 bits beside these
 * upper ones; added to `counts` (count x BINS). Magnitudes order as their bits do. */
HOT int transfuse_spread(const Parent *parents, int count, const Parent *base, int64_t size, const int64_t *bins,
                         int64_t *counts) {
    float x[TILE], b[TILE];
    uint32_t bits[TILE] = {0};
    for (int64_t start = 0; start < size; start += TILE) {
        int n = size - start < TILE ? (int)(size - start) : TILE;
        if (!load(b, base->data, base->type, start, n)) return 1 + count;
        for (int p = 0; p < count; p++) {
            int wrong = difference(x, parents, p, b, start, n);
            if (wrong) return wrong;
            int64_t *own = counts + (int64_t)p * BINS;
            for (int i = 0; i < n; i++) bits[i] = as_bits(x[i]) & 0x7fffffff;
            if (!bins) {
                for (int i = 0; i < n; i++) own[bits[i] >> 16]++;
                continue;
            }
            uint32_t wanted = (uint32_t)bins[p];
            for (int i = 0; i < n; i += LANES) { /* few are in the bin: most lanes are passed over at once */
                uint32_t there = 0;
                for (int l = 0; l < LANES; l++) there |= bits[i + l] >> 16 == wanted;
                for (int l = 0; there && l < LANES && i + l < n; l++)
                    if (bits[i + l] >> 16 == wanted) own[bits[i + l] & 0xffff]++;
            }
        }
    }
    return FINE;
}
