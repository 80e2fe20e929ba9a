/* One hidden layer, one sigmoid output, binary cross-entropy: whole training runs in one call.
 *
 * The practical limit for the small studies, written for one shape and compiled for this machine. The work
 * is the library's: shuffle, forward, BCE, backward, update, the loss of every step recorded.
 *
 *   I  inputs    H  hidden units    T  samples in a tile (a multiple of every register)
 *
 * Compiled with -D:  I, H, T;  RELU (else the hidden layer is a sigmoid);  ADAM (else plain SGD).
 * Parameters lie as in PyTorch: weight1 (H, I), bias1 (H), weight2 (1, H), bias2 (1).
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define P (H * I + H + H + 1)
#define LANES 16
#define PARTS (T / LANES) /* registers in a tile */

/* GCC's and Clang's vectors: one 512-bit register, or as many narrower ones as it takes. */
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef float eight __attribute__((vector_size(32)));
typedef float four __attribute__((vector_size(16)));

static inline lanes where(ints test, lanes yes, lanes no) {
    return (lanes)((test & (ints)yes) | (~test & (ints)no));
}

/* e to the x for |x| < 87, to 2 units in the last place; clamped outside. */
static inline lanes vexp(lanes x) {
    x = where(x > 87.0f, 87.0f - (lanes){0}, where(x < -87.0f, -87.0f - (lanes){0}, x));
    ints n = __builtin_convertvector(x * 1.44269504f + 127.5f, ints); /* rounded, with the bias */
    lanes k = __builtin_convertvector(n - 127, lanes);
    lanes r = (x - k * 0.693359375f) + k * 2.12194440e-4f; /* |r| < 0.35 */
    lanes q = 1.9875691500e-4f * r + 1.3981999507e-3f;
    q = q * r + 8.3334519073e-3f, q = q * r + 4.1665795894e-2f;
    q = q * r + 1.6666665459e-1f, q = q * r + 5.0000001201e-1f;
    return (q * r * r + r + 1) * (lanes)(n << 23);
}

/* log x for x in (0, 1]; at most -100 where x is 0, as BCELoss clamps it. Series: Cephes, logf.c. */
static inline lanes vlog(lanes x) {
    ints k = ((ints)x - 0x3f3504f3) >> 23;
    lanes f = (lanes)((ints)x - (k << 23)) - 1, e = __builtin_convertvector(k, lanes);
    lanes q = 7.0376836292e-2f * f - 1.1514610310e-1f;
    q = q * f + 1.1676998740e-1f, q = q * f - 1.2420140846e-1f, q = q * f + 1.4249322787e-1f;
    q = q * f - 1.6668057665e-1f, q = q * f + 2.0000714765e-1f, q = q * f - 2.4999993993e-1f;
    q = q * f + 3.3333331174e-1f;
    q = q * f * f * f - 0.5f * f * f - e * 2.12194440e-4f + f + e * 0.693359375f;
    return where(x > 0, q, -100.0f - (lanes){0});
}

static inline float total(lanes v) {
    union {
        lanes v;
        eight part[2];
    } a = {v};
    union {
        eight v;
        four part[2];
    } b = {a.part[0] + a.part[1]};
    four c = b.part[0] + b.part[1];
    return (c[0] + c[1]) + (c[2] + c[3]);
}

/* The Mersenne Twister, as PyTorch seeds and reads it (Matsumoto and Nishimura 1998). */
typedef struct {
    uint32_t word[624];
    int next;
} twister;

static void seed(twister *g, uint32_t s) {
    g->word[0] = s;
    for (uint32_t i = 1; i < 624; i++)
        g->word[i] = s = 1812433253u * (s ^ (s >> 30)) + i;
    g->next = 624;
}

static void refill(twister *g) {
    uint32_t *w = g->word;
#define TWIST(i, j, k)                                                                                       \
    {                                                                                                        \
        uint32_t y = (w[i] & 0x80000000u) | (w[j] & 0x7fffffffu);                                            \
        w[i] = w[k] ^ (y >> 1) ^ (-(y & 1u) & 0x9908b0dfu);                                                  \
    }
    for (int i = 0; i < 227; i++) TWIST(i, i + 1, i + 397)
    for (int i = 227; i < 623; i++) TWIST(i, i + 1, i - 227)
    TWIST(623, 0, 396)
    g->next = 0;
}

static inline uint32_t word(twister *g) {
    if (g->next == 624) refill(g);
    uint32_t y = g->word[g->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* The rows of one epoch, as a DataLoader without a generator of its own draws them. */
static void shuffle(twister *defaults, int32_t *order, int64_t rows) {
    word(defaults), word(defaults); /* the base seed, unused */
    word(defaults);                 /* the high half of the epoch's seed, which the twister does not see */
    twister g;
    seed(&g, word(defaults));
    for (int64_t i = 0; i < rows; i++) order[i] = (int32_t)i;
    for (int64_t i = 0; i < rows - 1; i++) {
        int64_t j = i + word(&g) % (uint32_t)(rows - i);
        int32_t row = order[i];
        order[i] = order[j], order[j] = row;
    }
}

/* Gather `rows` samples into features of contiguous samples: in (I, stride), target (stride). */
static void gather(const float *x, const float *y, const int32_t *order, int64_t rows, int64_t stride,
                   float *in, float *target) {
    for (int64_t s = 0; s < rows; s++) {
        const float *row = x + I * (int64_t)order[s];
        for (int i = 0; i < I; i++) in[i * stride + s] = row[i];
        target[s] = y[order[s]];
    }
}

static inline lanes load(const float *from) {
    lanes v;
    memcpy(&v, from, sizeof v); /* batches start anywhere */
    return v;
}

/* Forward and backward of `count` <= T samples at in[i * stride]; adds to sum[k] the parameters' gradients
 * and, in sum[P], the loss, every sum in LANES parts. */
static inline void step_tile(const float *in, const float *target, int64_t stride, int count, const float *p,
                             lanes *sum) {
    const float *w1 = p, *b1 = w1 + H * I, *w2 = b1 + H, *b2 = w2 + H;
    lanes x[I][PARTS], hidden[H][PARTS], z[PARTS], dz[PARTS];
    for (int i = 0; i < I; i++)
        for (int q = 0; q < PARTS; q++) x[i][q] = load(in + i * stride + q * LANES);
    for (int q = 0; q < PARTS; q++) z[q] = b2[0] - (lanes){0};
    for (int h = 0; h < H; h++)
        for (int q = 0; q < PARTS; q++) {
            lanes a = b1[h] - (lanes){0};
            for (int i = 0; i < I; i++) a += w1[h * I + i] * x[i][q];
#ifdef RELU
            a = where(a > 0, a, (lanes){0});
#else
            a = 1 / (1 + vexp(-a));
#endif
            hidden[h][q] = a;
            z[q] += w2[h] * a;
        }
    lanes loss = {0}, db2 = {0};
    const ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int q = 0; q < PARTS; q++) {
        lanes t = load(target + q * LANES);
        lanes y = 1 / (1 + vexp(-z[q])), rest = 1 - y, slope = y * rest;
        ints there = lane + q * LANES < count; /* the padding of a partial tile counts for nothing */
        lanes term = (t - 1) * vlog(rest) - t * vlog(y);
        loss += where(there, term, (lanes){0});
        /* BCELoss divides by at least 1e-12, and the sigmoid multiplies again */
        lanes d = (y - t) * where(slope < 1e-12f, slope * 1e12f, 1 - (lanes){0});
        db2 += dz[q] = where(there, d, (lanes){0});
    }
    sum[P] += loss;
    sum[P - 1] += db2;
    for (int h = 0; h < H; h++) {
        lanes dw2 = {0}, db1 = {0}, dw1[I] = {{0}};
        for (int q = 0; q < PARTS; q++) {
            lanes a = hidden[h][q], d = dz[q] * w2[h];
            dw2 += dz[q] * a;
#ifdef RELU
            d = where(a > 0, d, (lanes){0});
#else
            d *= a * (1 - a);
#endif
            db1 += d;
            for (int i = 0; i < I; i++) dw1[i] += d * x[i][q];
        }
        sum[H * I + H + h] += dw2;
        sum[H * I + h] += db1;
        for (int i = 0; i < I; i++) sum[h * I + i] += dw1[i];
    }
}

/* Train `epochs` epochs from `p`, in place.
 *
 * x (rows, I) and y (rows): the data. batch: rows in a step; the last step of an epoch takes what is left.
 * order: NULL draws the batches from `seed`; else (epochs, rows). shuffled: 0 leaves the rows as they lie.
 * losses: (epochs * steps). For Adam, pace (steps, 2): -lr/(1 - beta1**t) and sqrt(1 - beta2**t).
 */
int train(const float *x, const float *y, int64_t rows, int64_t batch, int64_t epochs, int shuffled,
          uint32_t torch_seed, const int32_t *order, float *p, float lr, float beta1, float beta2, float eps,
          const float *pace, float *losses) {
    int64_t stride = (rows + T + LANES - 1) / LANES * LANES;
    float *in = aligned_alloc(64, sizeof(float) * (I + 1) * stride), *target = in + I * stride;
    int32_t *drawn = malloc(sizeof(int32_t) * rows);
    if (!in || !drawn) return 1;
    memset(in, 0, sizeof(float) * (I + 1) * stride);
    float m[P] = {0}, v[P] = {0};
    (void)m, (void)v, (void)beta1, (void)beta2, (void)eps, (void)pace;
    twister defaults;
    seed(&defaults, torch_seed);
    for (int64_t s = 0; s < rows; s++) drawn[s] = (int32_t)s;
    if (!shuffled) gather(x, y, drawn, rows, stride, in, target);
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        if (shuffled) {
            if (!order) shuffle(&defaults, drawn, rows);
            gather(x, y, order ? order + epoch * rows : drawn, rows, stride, in, target);
        }
        for (int64_t first = 0; first < rows; first += batch) {
            int64_t n = rows - first < batch ? rows - first : batch;
            lanes sum[P + 1];
            memset(sum, 0, sizeof sum);
            for (int64_t s = first; s < first + n; s += T)
                step_tile(in + s, target + s, stride, first + n - s < T ? (int)(first + n - s) : T, p, sum);
            float g[P + 1];
            for (int k = 0; k <= P; k++) g[k] = total(sum[k]) / (float)n;
            *losses++ = g[P];
#ifdef ADAM
            for (int k = 0; k < P; k++) {
                m[k] += (g[k] - m[k]) * (1 - beta1);
                v[k] = v[k] * beta2 + (1 - beta2) * g[k] * g[k];
                p[k] += pace[0] * m[k] / (sqrtf(v[k]) / pace[1] + eps);
            }
            pace += 2;
#else
            for (int k = 0; k < P; k++) p[k] -= lr * g[k];
#endif
        }
    }
    free(in), free(drawn);
    return 0;
}
