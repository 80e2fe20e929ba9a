"""Training steps, whole epochs of them in one call.

    M         the run's memory: inputs, targets, values, gradients of values, as panels
    tile      as many panels as are gathered, run forward and run backward together
    a step    for each tile of its batch: gather, forward, loss, backward; then one optimizer sweep

Everything is fixed by the plan and the batch: which samples share a panel, in which order sums are added.
So a network's run is the same, bit for bit, alone or among thousands, on any number of threads.
"""

from __future__ import annotations

from numba import njit

from . import layers as on_panel
from .blocks import VECTORS, matmul, outer
from .inner import inner
from .lanes import any_nan, load, pointer, scalar, splat, store, sum_of_lanes, width
from .losses import decisions, loss_and_gradient
from .plan import LossKind, Op, Rule
from .rows import take_rows
from .updates import add_penalty, clip, update

__all__ = ["run_steps"]

LINEAR, DROPOUT = int(Op.LINEAR), int(Op.DROPOUT)
NLL, CROSS_ENTROPY = int(LossKind.NLL), int(LossKind.CROSS_ENTROPY)
SGD = int(Rule.SGD)


ROWS, BATCH, TILE_PANELS, TARGET_ROWS, LOSS, MEAN, IGNORE_INDEX, EVEN_CLASSES = range(8)
RULE, INPUT, TARGET, RESIDENT, DRAWS, DECISIONS, BY_CLASS, ORDERED, FEATURES, WEIGHTED, GROUPS = range(8, 19)
EVERY, BEFORE, FRESH, EVEN_ROWS, WRONG_STEP, ASIDE = range(19, 25)
OP, INPUTS, OUTPUTS, WEIGHT, BIAS, X_AT, Y_AT, DY_AT, DX_AT, ADD, FACTOR, DRAW, STRIDE = range(13)
DONE, DIVERGED, NO_PROBABILITY, NO_CLASS, NO_NUMBER = range(5)
OVER_ROWS = 2


@inner
def gather(settings, V, classes, X, Y, labels, order, M, x, t, start, count):
    """Copy `count` rows into the panels at x and t, one sample a lane.

    Labels are the user's memory, which other threads may write to: each is read once, and checked.

    Returns:
        how many class indices are none of the classes.
    """
    W = width(M)
    samples = VECTORS * W
    features, outputs, ordered = settings[FEATURES], settings[TARGET_ROWS], settings[ORDERED] != 0
    by_index = settings[LOSS] == NLL or settings[LOSS] == CROSS_ENTROPY
    wrong = 0
    for first in range(0, count, samples):
        here = min(samples, count - first)
        take_rows(X, features, order, ordered, start + first, here, M, x)
        if by_index:
            for lane in range((here + W - 1) // W * W):
                position = start + first + min(lane, here - 1)
                row = order[position] if ordered else position
                label = labels[row]
                known = 0 <= label < classes
                kept = known and label != settings[IGNORE_INDEX]
                wrong += not known and label != settings[IGNORE_INDEX]
                M[t + lane] = label if kept else -1
                M[t + samples + lane] = Y[row] if settings[WEIGHTED] else V[label] if kept else 0.0
        else:
            take_rows(Y, outputs, order, ordered, start + first, here, M, t)
        x += features * samples
        t += outputs * samples
    return wrong


@inner
def look_again(settings, V, classes, X, Y, labels, row_count, order, M):
    """Take over the data as they are now: which rows count, and, where they stay, all of them."""
    W = width(M)
    samples = VECTORS * W
    ignored = 0
    for row in range(row_count):
        ignored += labels[row] == settings[IGNORE_INDEX]
    settings[EVEN_ROWS] = settings[EVEN_CLASSES] != 0 and ignored == 0
    settings[WRONG_STEP] = -1
    if settings[RESIDENT]:
        batch = settings[BATCH]
        panels = (batch + samples - 1) // samples
        x, t = settings[INPUT], settings[TARGET]
        for begin in range(0, settings[ROWS], batch):
            count = min(batch, settings[ROWS] - begin)
            wrong = gather(settings, V, classes, X, Y, labels, order, M, x, t, begin, count)
            if wrong > 0 and settings[WRONG_STEP] < 0:
                settings[WRONG_STEP] = begin // batch
            x += panels * settings[FEATURES] * samples
            t += panels * settings[TARGET_ROWS] * samples
    settings[FRESH] = 0


@inner
def all_finite(table, P):
    """No parameter is NaN or infinite; what lies between them is not looked at."""
    for k in range(table.shape[0]):
        if table[k, OP] == LINEAR:
            for r in range(table[k, OUTPUTS]):
                for i in range(table[k, INPUTS]):
                    p = P[table[k, WEIGHT] + r * table[k, STRIDE] + i]
                    if p - p != 0:
                        return False
                if table[k, BIAS] >= 0:
                    p = P[table[k, BIAS] + r]
                    if p - p != 0:
                        return False
    return True


@inner
def draw_factors(table, numbers, uniforms, M, begin, batch_rows, first, count):
    """Dropout's factors for rows first ... first + count - 1 of a batch whose draws begin at `begin`.

    The draws of a batch stand layer after layer, row after row, as the layers of a model draw them.
    """
    samples = VECTORS * width(M)
    for k in range(table.shape[0]):
        if table[k, OP] != DROPOUT or table[k, DRAW] < 0:
            continue
        wide = table[k, OUTPUTS]
        draws = begin + table[k, DRAW] * batch_rows + first * wide
        for j in range(count):
            at = table[k, FACTOR] + j // samples * wide * samples + j % samples
            for f in range(wide):
                M[at + f * samples] = numbers[k, 1] if uniforms[draws + j * wide + f] < numbers[k, 0] else 0.0


@inner
def forward_panel(table, numbers, P, M, x_input, panel, vectors):
    samples = VECTORS * width(M)
    for k in range(table.shape[0]):
        n_in, n_out = table[k, INPUTS], table[k, OUTPUTS]
        x = x_input if table[k, X_AT] < 0 else table[k, X_AT]
        x, y = x + panel * n_in * samples, table[k, Y_AT] + panel * n_out * samples
        if table[k, OP] == LINEAR:
            matmul(P, table[k, WEIGHT], table[k, STRIDE], 1, table[k, BIAS], M, x, y, n_out, n_in, vectors)
        else:
            factor = table[k, FACTOR] + panel * n_out * samples
            on_panel.forward(table[k, OP], M, x, y, factor, n_out, vectors, numbers[k, 0], numbers[k, 1])


@inner
def backward_panel(table, numbers, P, M, x_input, panel, vectors):
    """The gradients of all values, down to the outputs of the first linear layer."""
    samples = VECTORS * width(M)
    for k in range(table.shape[0] - 1, -1, -1):
        if table[k, DX_AT] < 0:
            return
        n_in, n_out = table[k, INPUTS], table[k, OUTPUTS]
        dy, dx = table[k, DY_AT] + panel * n_out * samples, table[k, DX_AT] + panel * n_in * samples
        if table[k, OP] == LINEAR:
            matmul(P, table[k, WEIGHT], 1, table[k, STRIDE], -1, M, dy, dx, n_in, n_out, vectors)
        else:
            x = x_input if table[k, X_AT] < 0 else table[k, X_AT]
            x, y = x + panel * n_in * samples, table[k, Y_AT] + panel * n_out * samples
            factor = table[k, FACTOR] + panel * n_out * samples
            on_panel.backward(
                table[k, OP], M, dy, x, y, factor, dx, n_out, vectors, numbers[k, 0], numbers[k, 1]
            )


@inner
def parameter_gradients(table, M, G, x_input, vectors, later_tile):
    for k in range(table.shape[0]):
        if table[k, OP] != LINEAR:
            continue
        n_in, n_out = table[k, INPUTS], table[k, OUTPUTS]
        x = x_input if table[k, X_AT] < 0 else table[k, X_AT]
        add = later_tile or table[k, ADD] != 0
        weight, stride = table[k, WEIGHT], table[k, STRIDE]
        outer(M, table[k, DY_AT], x, G, weight, stride, table[k, BIAS], n_out, n_in, vectors, add)


@inner
def divisor_of(settings, V, classes, Y, labels, order, start, count, outputs):
    """What the mean over this batch divides by: elements, rows, the rows' weights or their classes'."""
    if not settings[MEAN]:
        return 1.0
    if settings[WEIGHTED]:
        each = 1 if settings[LOSS] == NLL or settings[LOSS] == CROSS_ENTROPY else outputs + 1
        total = 0.0
        for position in range(start, start + count):
            row = order[position] if settings[ORDERED] else position
            total += Y[row * each + each - 1]
        return total
    if settings[MEAN] == OVER_ROWS:
        return float(count)
    if settings[LOSS] < NLL:
        return float(count * outputs)
    if settings[EVEN_ROWS]:
        return float(count)
    total = 0.0
    for position in range(start, start + count):
        label = labels[order[position] if settings[ORDERED] else position]
        if 0 <= label < classes and label != settings[IGNORE_INDEX]:
            total += V[label]
    return total


@inner
def copy(source, count, R, to):
    for i in range(0, count, width(R)):
        store(R, to + i, load(source, i))


@inner
def keep(P, G, S, size, slots, R, to):
    """Parameters, gradients and state, one after another, into the record at R[to]."""
    copy(P, size, R, to)
    copy(G, size, R, to + size)
    copy(S, slots, R, to + 2 * size)


@njit(nogil=True, error_model="numpy")
def run_steps(
    first, last, made, table, numbers, settings, loss_numbers, weights,
    parameters, gradients, state, stretches, rates,
    memory, inputs, targets, labels, order, uniforms, losses, decided, record, aside,
):  # fmt: skip
    """Steps first ... last - 1 of the run that `order` lays out, epoch after epoch.

    Args:
        made: optimizer steps since `stretches` was written.
        table, numbers: (layers, columns) as `Column`, and each layer's a and b. settings: as `Setting`.
        loss_numbers: label smoothing, cut of a decision, smallest state that is kept, 1 / scale, alpha, the
            largest norm and the largest value of the gradients.
        weights: (2 M,) weight and pos_weight of each output.
        parameters, gradients, state: flat. stretches, rates: as `updates.update` takes them.
        memory: panels. inputs, targets, labels: rows of data, flat; targets or labels is empty
            (targets holds the weights of rows that have labels).
        order: rows in the order of the run, all of them rows of the data; empty: as they come, epoch after
            epoch.
        uniforms: draws for dropout from step `first` on: for each step, for each layer, rows by features.
        losses: (steps,) filled. decided: (steps, 2) right and made decisions, filled where wanted.
        record: flat, filled where wanted: a row for each step recorded, from `first` on, as `keep` lays it.
        aside: flat, filled where wanted: parameters and state before the last step.
    Returns:
        step, status: the first step not made, and why; with NO_NUMBER the step that should not have been.
    """
    P, G, S, M, V = pointer(parameters), pointer(gradients), pointer(state), pointer(memory), pointer(weights)
    X, Y, C = pointer(inputs), pointer(targets), pointer(labels)
    rows_in_order, draws, R, A = pointer(order), pointer(uniforms), pointer(record), pointer(aside)
    W = width(M)
    samples = VECTORS * W
    rows, batch, tile_panels = settings[ROWS], settings[BATCH], settings[TILE_PANELS]
    steps_an_epoch = (rows + batch - 1) // batch
    end = table.shape[0] - 1
    outputs, prediction, gradient = table[end, OUTPUTS], table[end, Y_AT], table[end, DY_AT]
    by_index = settings[LOSS] == NLL or settings[LOSS] == CROSS_ENTROPY
    smoothing, cut, tiny = loss_numbers[0], loss_numbers[1], loss_numbers[2]
    one_over_scale, alpha = loss_numbers[3], loss_numbers[4]
    max_norm, max_value = loss_numbers[5], loss_numbers[6]
    weighted = settings[WEIGHTED] != 0
    target_rows = settings[TARGET_ROWS]
    tile = tile_panels * samples
    size, slots = parameters.size, 3 * parameters.size if settings[RULE] != SGD else parameters.size
    every, to = settings[EVERY], 0
    first_epoch = first // steps_an_epoch
    rows_made = first_epoch * rows + (first - first_epoch * steps_an_epoch) * batch
    if settings[FRESH]:
        look_again(settings, V, outputs, X, Y, C, labels.size, rows_in_order, M)
    for step in range(first, last):
        epoch = step // steps_an_epoch
        begin = (step - epoch * steps_an_epoch) * batch
        count = min(batch, rows - begin)
        before = epoch * rows + begin  # rows of this run that came before
        start = before if settings[ORDERED] else begin
        if settings[RESIDENT] and begin // batch == settings[WRONG_STEP]:
            return step, NO_CLASS
        counted = divisor_of(settings, V, outputs, Y, C, rows_in_order, start, count, outputs)
        divisor = counted * one_over_scale
        total, wrong = splat(M, 0.0), splat(M, 0.0)
        right_decisions, decisions_made = 0.0, 0.0
        x, t = settings[INPUT], settings[TARGET]
        if settings[RESIDENT]:
            panels_before = (step - epoch * steps_an_epoch) * ((batch + samples - 1) // samples)
            x += panels_before * settings[FEATURES] * samples
            t += panels_before * target_rows * samples
        for done in range(0, count, tile):
            here = min(tile, count - done)
            wrong_classes = 0
            if not settings[RESIDENT]:
                wrong_classes = gather(
                    settings, V, outputs, X, Y, C, rows_in_order, M, x, t, start + done, here
                )
            if wrong_classes > 0:
                return step, NO_CLASS
            if settings[DRAWS]:
                draw_factors(
                    table, numbers, draws, M, (before - rows_made) * settings[DRAWS], count, done, here
                )
            vectors = (here + W - 1) // W
            for at in range(0, here, samples):
                panel = at // samples
                live = min(samples, here - at)
                used = (live + W - 1) // W
                forward_panel(table, numbers, P, M, x, panel, used)
                y = prediction + panel * outputs * samples
                target = t + panel * target_rows * samples
                dy = gradient + panel * outputs * samples
                if settings[DECISIONS]:
                    right, all_made = decisions(
                        M, y, target, outputs, live, used, by_index, settings[BY_CLASS] != 0, cut
                    )
                    right_decisions += right
                    decisions_made += all_made
                total, wrong = loss_and_gradient(
                    settings[LOSS], M, y, target, dy, outputs, live, used,
                    V, weighted, divisor, smoothing, total, wrong,
                )  # fmt: skip
                backward_panel(table, numbers, P, M, x, panel, used)
            parameter_gradients(table, M, G, x, vectors, done > 0)
            if settings[RESIDENT]:
                x += tile_panels * settings[FEATURES] * samples
                t += tile_panels * target_rows * samples
        if sum_of_lanes(wrong) > 0:
            return step, NO_PROBABILITY
        loss = sum_of_lanes(total) / scalar(M, divisor)
        if alpha != 0:
            share = scalar(M, alpha / counted)
            loss = loss + share * add_penalty(P, G, stretches, share, tiny)
        losses[step] = loss
        if loss - loss != 0:  # NaN and infinity are the numbers of which this holds
            return step, DIVERGED
        if settings[DECISIONS]:
            decided[step, 0], decided[step, 1] = right_decisions, decisions_made
        clip(G, stretches, max_norm, max_value)
        if settings[ASIDE] and step == last - 1:
            copy(P, size, A, 0)
            copy(S, slots, A, size)
        zeros = update(
            settings[RULE], P, G, S, state.size // 3, stretches, rates, step * settings[GROUPS],
            made + step - first, tiny,
        )  # fmt: skip
        if any_nan(zeros) and not all_finite(table, P):
            return step, NO_NUMBER
        if every > 0 and (settings[BEFORE] + step + 1) % every == 0:
            keep(P, G, S, size, slots, R, to)
            to += 2 * size + slots
    return last, DONE
