/* The framed serial protocol for array boards; sections are those of ../serial-protocol.md. */
#include "board.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>
enum { HELLO = 1, PING, ARM, SAFE, WDOG, ERR, TRIG, PULSE = 0x10, READ, READ_MATRIX,
       SEQ_LOAD = 0x20, SEQ_RUN, SEQ_STATUS, FETCH };
enum { BAD_FRAME = 1, BAD_VERSION, NO_SESSION, BAD_NUMBER, CONFLICT, BAD_OP, BAD_LENGTH, RANGE,
       LIMIT, UNARMED, BUSY, BAD_SEQUENCE, NOT_LOADED, UNSUPPORTED, CHECKSUM, HARDWARE };
enum { S_SAFE, S_ARMED, S_RUNNING, S_DONE, S_STOPPED };
enum { WHY_ASKED = 1, WHY_WATCHDOG, WHY_LINK, WHY_NO_TRIGGER, WHY_HARDWARE };
enum { DEFERRED = -1, REPLY = 0x80, ERROR = 0xC0, DATA = 0x40 };
#define WIRE (BOARD_PAYLOAD + 12 + BOARD_PAYLOAD / 254 + 2)
#define RING (2 * WIRE + 512)
#define ALL 0xFFFFFFFFu
#define MIN(a, b) ((a) < (b) ? (a) : (b))
struct steps { /* a sequence on its way: the registers of section 6 */
    const uint8_t *items;
    uint32_t total, at, row, n_rows, rows_done; /* rows: of READ_MATRIX, one step each */
    float level[BOARD_LINES], compliance[BOARD_LINES], range;
    uint32_t width[BOARD_LINES], rise, fall, gap, delay, aperture, repeat;
    uint8_t state[BOARD_LINES], sense[BOARD_LINES];
};
struct summary { /* what a checked sequence asks for */
    uint32_t steps, readings, longest, time_error, check, total; uint64_t duration;
    double low, high, level_error, most_a;
};
static const struct board_features *F;
static uint8_t rx[WIRE], text[8], ring[RING], memory[BOARD_SEQ_BYTES], job[160];
static uint32_t rx_len, rx_over, text_len, ring_in, ring_out, group_at, group;
static uint32_t session, boot, fed, wdog_ms, edges_before, arm_width, errors;
static uint16_t frame_crc, number, last_crc, latest;
static uint8_t state, why, armed, deferred, faulty, pulsing, in_step, is_loaded;
static double arm_low, arm_high, arm_limit;
static struct { uint8_t op, ready; uint32_t len; uint8_t body[BOARD_PAYLOAD]; } stored;
static struct summary loaded, running;
static struct steps now, levels; /* of the run or check, and of FETCH of levels */
static struct reading { float current, level, range; uint32_t width, t; uint16_t line, status; }
    readings[BOARD_READINGS];
static uint16_t step_status[BOARD_STEPS], run_status, run_number, limited_line;
static uint32_t taken, ended, pulses, limited_step, step_width;
static uint32_t trigger_on, trigger_edges, trigger_at, trigger_ms; static uint64_t run_t, period;
static struct { uint8_t op, kind; uint32_t first, at, end, sent, check, cols, line; } stream;
/* ---- numbers: b, h, i, q are unsigned of 1, 2, 4, 8 bytes, f is a float ---------------------- */
static int size_of(char c) { return c == 'b' ? 1 : c == 'h' ? 2 : c == 'q' ? 8 : 4; }
static uint32_t pack(uint8_t *to, const char *format, ...) {
    uint8_t *p = to;
    va_list args; va_start(args, format);
    for (; *format; format++) {
        float f = *format == 'f' ? (float)va_arg(args, double) : 0;
        uint32_t bits;
        memcpy(&bits, &f, 4);
        uint64_t v = *format == 'f' ? bits : *format == 'q' ? va_arg(args, uint64_t)
                   : *format == 'i' ? va_arg(args, uint32_t) : va_arg(args, unsigned);
        for (int size = size_of(*format); size--; v >>= 8) *p++ = (uint8_t)v;
    }
    va_end(args);
    return (uint32_t)(p - to);
}
static void unpack(const uint8_t *p, const char *format, ...) /* to uint32_t and float */ {
    va_list args; va_start(args, format);
    for (uint32_t v = 0; *format; format++, v = 0) {
        for (int k = size_of(*format); k--;) v = v << 8 | p[k];
        memcpy(va_arg(args, void *), &v, 4); p += size_of(*format);
    }
    va_end(args);
}
static uint16_t crc16(uint16_t crc, uint8_t byte) {
    crc = (uint16_t)(crc ^ byte << 8);
    for (int k = 8; k--;) crc = (uint16_t)(crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0));
    return crc;
}
static uint32_t crc32(uint32_t crc, const uint8_t *p, uint32_t count) {
    for (crc = ~crc; count--; p++)
        for (int k = 0; k < 8; k++)
            crc ^= k ? 0 : *p, crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    return ~crc;
}
static uint32_t on_grid(uint32_t t) /* to the nearest, halves to even */ {
    uint32_t q = t / F->time_step, rest = t % F->time_step;
    return (q + ((uint64_t)rest * 2 + (q & 1) > F->time_step)) * F->time_step;
}
static uint32_t off_grid(uint32_t t) { return t > on_grid(t) ? t - on_grid(t) : on_grid(t) - t; }
static int32_t code_of(float level) { return (int32_t)rint((double)level / F->level_step); }
static double delivered(const struct steps *s, uint32_t line) {
    return s->state[line] == LINE_DRIVE ? code_of(s->level[line]) * F->level_step : 0;
}
/* ---- 1. frames out: COBS into a ring ------------------------------------------------------- */
static uint32_t room(void) { return (ring_out + RING - ring_in - 1) % RING; }
static void push(uint8_t byte) { ring[ring_in] = byte, ring_in = (ring_in + 1) % RING; }
static void open_group(void) { group_at = ring_in, group = 1, push(1); }
static void put(const uint8_t *p, uint32_t count) {
    for (; count--; p++) {
        frame_crc = crc16(frame_crc, *p);
        if (group == 0xFF) open_group();
        if (*p) { push(*p), ring[group_at] = (uint8_t)++group; } else { open_group(); }
    }
}
static void begin_frame(uint32_t of, uint32_t n, uint32_t op, uint32_t len) {
    uint8_t head[10];
    frame_crc = 0xFFFF, open_group(); put(head, pack(head, "bihbh", 1, of, n, op, len));
}
static void end_frame(void) {
    put((uint8_t[2]){(uint8_t)frame_crc, (uint8_t)(frame_crc >> 8)}, 2), push(0);
}
/* What does not fit is dropped: a host that reads so slowly asks again. */
static void send(uint32_t of, uint32_t n, uint32_t op, const uint8_t *body, uint32_t len) {
    if (room() < len + len / 254 + 16) return;
    begin_frame(of, n, op, len), put(body, len), end_frame();
}
static void send_error(uint32_t of, uint32_t n, uint32_t op, uint16_t code, uint32_t detail) {
    uint8_t body[6];
    errors += errors < 0xFFFF, latest = code;
    send(of, n, (op & 0x3F) | ERROR, body, pack(body, "hi", code, detail));
}
/* Send and keep the reply to the last request, whose body is in stored.body; or an error. */
static void finish(uint8_t op, int error, uint32_t len) {
    if (error)
        errors += errors < 0xFFFF, latest = (uint16_t)error, len = pack(stored.body, "hi", error, len);
    stored.op = (uint8_t)((op & 0x3F) | (error ? ERROR : REPLY)), stored.len = len, stored.ready = 1;
    send(session, number, stored.op, stored.body, len);
}
static void go_safe(uint8_t reason) {
    hal_outputs(0);
    why = armed ? reason : why, armed = 0;
    if (state != S_STOPPED) state = state == S_RUNNING ? S_STOPPED : S_SAFE;
}
static uint32_t status_block(uint8_t *p) {
    return pack(p, "bbhiibhiih", state, why, run_number, ended, pulses, pulsing, run_status, taken,
                limited_step, limited_line);
}
static void limited(uint16_t status, uint16_t line) {
    if ((status & STATUS_LIMITED) && limited_step == ALL) limited_step = ended, limited_line = line;
}
/* ---- 6. sequences --------------------------------------------------------------------------- */
static void rewind_steps(struct steps *s, const uint8_t *items, uint32_t total, uint32_t row,
                         uint32_t n_rows) {
    memset(s, 0, sizeof *s); s->items = items, s->total = total, s->row = row, s->n_rows = n_rows;
    for (int k = 0; k < F->lines; k++) s->compliance[k] = INFINITY, s->state[k] = LINE_GROUND;
}
static int next_row(struct steps *s) {
    if (s->rows_done == s->n_rows) return 0;
    s->state[s->row + s->rows_done - (s->rows_done > 0)] = LINE_GROUND;
    return s->state[s->row + s->rows_done++] = LINE_DRIVE, 1;
}
/* Go to the next STEP: 1 = there, 0 = the end, -1 = the item at s->at is bad. */
static int next_step(struct steps *s) {
    static const uint8_t SIZE[5] = {4, 4, 4, 1, 1}, BITS[5] = {32, 32, 32, 2, 1};
    while (s->at < s->total) {
        const uint8_t *p = s->items + s->at + 1;
        uint32_t left = s->total - s->at - 1, tag = p[-1], r = tag & 15, each = tag >> 4 == 2;
        uint32_t first, count, size, v = 0;
        if (tag == 0x40 || tag == 0x30 || tag == 0x31) {
            if (left < (size = tag == 0x40 ? 4 : 12)) return -1;
            if (tag == 0x30) unpack(p, "iii", &s->rise, &s->fall, &s->gap);
            else if (tag == 0x31) unpack(p, "fii", &s->range, &s->delay, &s->aperture);
            else unpack(p, "i", &s->repeat);
            s->at += 1 + size;
            if (tag == 0x40) return s->n_rows ? next_row(s) : 1;
            continue;
        }
        if ((!each && tag >> 4 != 1) || r > 4 || left < 4) return -1;
        unpack(p, "hh", &first, &count);
        p += 4, size = each ? (count * BITS[r] + 7) / 8 : SIZE[r];
        if (!count || first + count > F->lines || left < 4 + size) return -1;
        for (uint32_t k = 0; k < count; k++) {
            const uint8_t *at = each ? p + k * BITS[r] / 8 : p;
            unpack(at, SIZE[r] == 4 ? "i" : "b", &v);
            if (each && r > 2) v = v >> k * BITS[r] % 8 & ((1u << BITS[r]) - 1);
            if ((r == 3 && v > LINE_DRIVE) || (r == 4 && v > 1)) return -1;
            if (r == 1) s->width[first + k] = v;
            else if (r > 2) (r == 3 ? s->state : s->sense)[first + k] = (uint8_t)v;
            else memcpy((r ? s->compliance : s->level) + first + k, &v, 4);
        }
        s->at += 5 + size;
    }
    return s->n_rows ? next_row(s) : 0;
}
static uint32_t widest(const struct steps *s) {
    uint32_t w = 0;
    for (int k = 0; k < F->lines; k++) w = s->width[k] > w ? s->width[k] : w;
    return w;
}
static uint64_t period_of(const struct steps *s) {
    return (uint64_t)on_grid(widest(s)) + (on_grid(s->rise) + on_grid(s->fall)) / 2 + on_grid(s->gap);
}
static int check_step(const struct steps *s, struct summary *sum) {
    uint32_t w = widest(s), sensed = 0, one = 0;
    uint64_t each = period_of(s) ? period_of(s) : 1;
    int bad = s->rise > F->edge_max || s->fall > F->edge_max ||
              !(s->range >= 0 && s->range <= F->current_max) || (uint64_t)s->delay + s->aperture > w;
    sum->time_error = (uint32_t)fmax(sum->time_error, off_grid(w));
    for (int k = 0; k < F->lines; k++) {
        float limit = s->compliance[k], level = s->level[k];
        int driven = s->state[k] == LINE_DRIVE, lifted = driven && level != 0;
        one = lifted && s->width[k] && !one ? s->width[k] : one; sensed += s->sense[k];
        if ((s->state[k] == LINE_FLOAT && !(F->can & CAN_FLOAT)) ||
            (lifted && s->width[k] && s->width[k] != one && !(F->can & CAN_LINE_WIDTH)) ||
            (sensed > 1 && !(F->can & CAN_PARALLEL_SENSE)) ||
            (limit != INFINITY && !(F->can & CAN_COMPLIANCE))) return UNSUPPORTED;
        if (!driven) continue;
        if (!(level >= F->low_code * F->level_step && level <= F->high_code * F->level_step) ||
            (lifted && s->width[k] && (s->width[k] < F->width_min || s->width[k] > F->width_max)) ||
            (lifted && limit != INFINITY &&
             !(limit >= F->compliance_min && limit <= F->compliance_max))) {
            bad = 1;
            continue;
        }
        sum->level_error = fmax(sum->level_error, fabs(delivered(s, (uint32_t)k) - level));
        sum->time_error = (uint32_t)fmax(sum->time_error, off_grid(s->width[k]));
        sum->low = fmin(sum->low, level), sum->high = fmax(sum->high, level);
        if (lifted) sum->most_a = fmax(sum->most_a, limit);
        if (lifted) sum->longest = (uint32_t)fmax(sum->longest, s->width[k]);
    }
    if (bad || s->repeat > (F->max_run - sum->duration) / each ||
        (sensed && s->repeat > (BOARD_READINGS - sum->readings) / sensed)) return LIMIT;
    sum->duration += period_of(s) * s->repeat, sum->readings += sensed * s->repeat; return 0;
}
/* Check a sequence, first whether it is understood; leave `now` before its first step. */
static int check(const uint8_t *items, uint32_t total, uint32_t row, uint32_t n_rows,
                 struct summary *sum, uint32_t *detail) {
    memset(sum, 0, sizeof *sum);
    for (int pass = 0; pass < 2; pass++) {
        int found, error;
        rewind_steps(&now, items, total, row, n_rows);
        for (sum->steps = 0; (found = next_step(&now)) > 0; sum->steps++) {
            *detail = sum->steps; if (sum->steps >= BOARD_STEPS) return LIMIT;
            if (pass && now.repeat && (error = check_step(&now, sum)) != 0) return error;
        }
        *detail = now.at; if (found < 0) return BAD_SEQUENCE;
    }
    rewind_steps(&now, items, total, row, n_rows); return 0;
}
static int beyond_arm(const struct summary *sum) {
    return !(arm_low <= sum->low && sum->high <= arm_high) || sum->longest > arm_width ||
           sum->most_a > arm_limit;
}
static void begin_run(const struct summary *sum) /* `now` is before its first step */ {
    running = *sum;
    run_number = number, run_status = 0, limited_step = ALL, limited_line = 0xFFFF;
    taken = ended = pulses = 0, in_step = pulsing = 0, trigger_on = 0, run_t = 0;
    memset(step_status, 0, sizeof step_status); state = S_RUNNING;
}
static void end_pulse(uint16_t status) {
    uint16_t base = F->can & CAN_SIMULATED;
    status |= base; limited(status, 0xFFFF);
    for (uint16_t k = 0; k < F->lines; k++) {
        uint16_t bits = base;
        if (!now.sense[k]) continue;
        double a = hal_reading(k, &bits) * (step_width > 0) * F->current_step;
        readings[taken++] = (struct reading){
            bits & STATUS_OVER_RANGE ? NAN : (float)a, (float)delivered(&now, k),
            now.range == 0 ? F->current_max : now.range, step_width, (uint32_t)run_t, k, bits};
        limited(bits, k), status |= bits;
    }
    step_status[ended] |= status, run_status |= status; pulsing = 0, pulses++, run_t += period;
    if (pulses == now.repeat) in_step = 0, pulses = 0, ended++;
}
static void poll_run(void) {
    uint16_t status = 0;
    trigger_on = trigger_on && hal_edges() == trigger_edges;
    if (state == S_RUNNING && trigger_on && hal_millis() - trigger_at >= trigger_ms)
        go_safe(WHY_NO_TRIGGER);
    if (state != S_RUNNING || trigger_on || (pulsing && !hal_done(&status))) return;
    if (pulsing) end_pulse(status);
    while (!in_step && next_step(&now) > 0) {
        in_step = now.repeat > 0, ended += !now.repeat;
        step_width = on_grid(widest(&now)), period = period_of(&now);
        for (uint16_t k = 0; in_step && k < F->lines; k++)
            hal_line(k, now.state[k], now.state[k] == LINE_DRIVE ? code_of(now.level[k]) : 0,
                     on_grid(now.width[k]), now.compliance[k], now.sense[k]);
    }
    struct board_pulse p = {step_width, on_grid(now.rise), on_grid(now.fall), on_grid(now.gap),
                            on_grid(now.delay), on_grid(now.aperture),
                            now.range == 0 ? F->current_max : now.range};
    if ((pulsing = in_step) != 0) hal_begin(&p);
    else state = S_DONE;
}
static void begin_stream(void) /* from its first record; stream.kind, first, end, cols are set */ {
    stream.op = stored.op, stream.at = stream.first, stream.sent = stream.check = 0;
    rewind_steps(&levels, memory, loaded.total, 0, 0); stream.line = stream.first % F->lines;
    for (uint32_t k = stream.line ? 0 : 1; k <= stream.first / F->lines; k++) next_step(&levels);
}
static uint32_t pack_reading(uint8_t *p, const struct reading *r) {
    return pack(p, "fffiihh", r->current, r->level, r->range, r->width, r->t, r->line, r->status);
}
static void put_record(const struct reading *from) {
    uint8_t r[24]; uint32_t size;
    if (stream.op == READ_MATRIX) size = pack(r, "ffh", from->current, from->range, from->status);
    else if (stream.kind == 0) size = pack_reading(r, from);
    else if (stream.kind == 2) size = pack(r, "h", step_status[stream.at]);
    else {
        if (stream.line % F->lines == 0) next_step(&levels);
        size = pack(r, "f", delivered(&levels, stream.line++ % F->lines));
    }
    put(r, size), stream.check = crc32(stream.check, r, size), stream.at++, stream.sent++;
}
static void poll_stream(void) {
    static const uint8_t SIZE[3] = {24, 4, 2};
    int matrix = stream.op == READ_MATRIX, over = stream.kind == 1 || state != S_RUNNING;
    uint32_t size = matrix ? 10 : SIZE[stream.kind], head = matrix ? 18 : 6;
    uint32_t have = stream.kind == 0 ? taken : stream.kind == 1 || over ? stream.end : ended;
    uint8_t p[33];
    have = MIN(have, stream.end);
    while (stream.op && stream.at < have && room() > WIRE + 64) {
        const struct reading *r = &readings[stream.at];
        uint32_t n = MIN(have - stream.at, (BOARD_PAYLOAD - head) / size), row = now.row;
        if (matrix) n = MIN(n, stream.cols - stream.at % stream.cols), row += stream.at / stream.cols;
        begin_frame(session, number, stream.op | DATA, head + n * size);
        if (matrix) put(p, pack(p, "hhhiif", row, r->line - F->rows, n, r->width, r->t,
                                code_of(now.level[row]) * F->level_step));
        else put(p, pack(p, "ih", stream.at, n));
        while (n--) put_record(r++);
        end_frame();
    }
    if (!stream.op || room() <= WIRE + 64 || stream.at < have ||
        !(over || (have == stream.end && stream.end > stream.first))) return;
    pack(p, "ii", stream.sent, stream.check);
    send(session, number, stream.op | REPLY, p, 8 + status_block(p + 8)), stream.op = 0;
}
/* ---- 4. requests: each returns 0 or an error, and the length of stored.body in *out (detail) -- */
static int start_job(uint32_t size, uint32_t row, uint32_t n_rows, uint32_t *out) {
    struct summary sum;
    int error = check(job, size, row, n_rows, &sum, out);
    if (error || beyond_arm(&sum)) return error ? error : LIMIT;
    return begin_run(&sum), poll_run(), DEFERRED;
}
static int give_pulse(const uint8_t *p, uint32_t *out) {
    uint32_t row, col, width, rise, fall, gap, count, scheme, n, all = F->rows + F->cols;
    float level, limit;
    unpack(p, "hhfiiiiifb", &row, &col, &level, &width, &rise, &fall, &gap, &count, &limit, &scheme);
    if (row >= F->rows || col >= F->cols || scheme > 3)
        return row >= F->rows || col >= F->cols ? RANGE : UNSUPPORTED;
    n = pack(job, "biiibhhi", 0x30, rise, fall, gap, 0x11, 0, F->lines, width);
    if (scheme == 2)
        n += pack(job + n, "bhhfbhhfbhhb", 0x10, 0, F->rows, -level / 6.0, 0x10, F->rows, F->cols,
                  level / 6.0, 0x13, 0, all, LINE_DRIVE);
    if (scheme == 3) n += pack(job + n, "bhhb", 0x13, 0, all, LINE_FLOAT);
    for (int side = 0; side < 2; side++) {
        uint32_t line = side ? F->rows + col : row, half = scheme == 1 || scheme == 2;
        n += pack(job + n, "bhhfbhhfbhhb", 0x10, line, 1, half ? (side ? -level : level) / 2.0 : level,
                  0x12, line, 1, limit, 0x13, line, 1, side && !half ? LINE_GROUND : LINE_DRIVE);
    }
    stream.first = row, stream.end = F->rows + col;
    return start_job(n + pack(job + n, "bi", 0x40, count), 0, 0, out);
}
static int read_cells(const uint8_t *p, int matrix, uint32_t *out) {
    uint32_t row, rows = 1, col, cols = 1, width, rise = 0, fall = 0, gap = 0, delay, aperture, n;
    float level, range, limit = INFINITY;
    if (matrix)
        unpack(p, "hhhhfiiiiiiff", &row, &rows, &col, &cols, &level, &width, &rise, &fall, &gap,
               &delay, &aperture, &range, &limit);
    else unpack(p, "hhfiiif", &row, &col, &level, &width, &delay, &aperture, &range);
    if (!rows || !cols || row + rows > F->rows || col + cols > F->cols) return RANGE;
    if (matrix && !(F->can & CAN_PARALLEL_SENSE)) return UNSUPPORTED;
    n = pack(job, "biiibfii", 0x30, rise, fall, gap, 0x31, range, delay, aperture);
    n += pack(job + n, "bhhfbhhibhhfbhhbbi", 0x10, row, rows, level, 0x11, 0, F->lines, width, 0x12,
              0, F->lines, limit, 0x14, F->rows + col, cols, 1, 0x40, (uint32_t)1);
    stream.kind = 0, stream.first = 0, stream.end = rows * cols, stream.cols = cols;
    int error = start_job(n, row, rows, out);
    if (matrix && error == DEFERRED) begin_stream();
    return error;
}
static int load(const uint8_t *p, uint32_t len, uint32_t *out) {
    uint32_t offset, total, flags; int error;
    unpack(p, "iib", &offset, &total, &flags); len -= 9, *out = BOARD_SEQ_BYTES;
    if (total > BOARD_SEQ_BYTES || offset > total || len > total - offset) return RANGE;
    memcpy(memory + offset, p + 9, len), memset(stored.body, 0, 28), is_loaded = 0;
    if (flags & 1) {
        if ((error = check(memory, total, 0, 0, &loaded, out)) != 0) return error;
        if (armed && beyond_arm(&loaded)) return LIMIT;
        loaded.total = total, loaded.check = crc32(0, memory, total), is_loaded = 1;
        pack(stored.body, "iiqifi", loaded.steps, loaded.readings, loaded.duration, loaded.check,
             loaded.level_error, loaded.time_error);
    }
    return *out = 28, 0;
}
static int run_sequence(const uint8_t *p, uint32_t *out) {
    uint32_t total, sum, flags;
    unpack(p, "iibi", &total, &sum, &flags, &trigger_ms);
    if (!is_loaded || total != loaded.total || sum != loaded.check) return NOT_LOADED;
    if ((flags & 1) && !(F->can & CAN_TRIG_IN)) return UNSUPPORTED;
    if (beyond_arm(&loaded)) return LIMIT;
    rewind_steps(&now, memory, total, 0, 0), begin_run(&loaded);
    trigger_on = flags & 1, trigger_edges = hal_edges(), trigger_at = hal_millis();
    return *out = pack(stored.body, "iq", loaded.readings, loaded.duration), 0;
}
static int fetch(const uint8_t *p, uint32_t *out) {
    uint32_t kind, first, count, end;
    unpack(p, "bii", &kind, &first, &count);
    if (kind > 2 || (kind == 1 && !is_loaded)) return kind > 2 ? RANGE : NOT_LOADED;
    end = kind == 1 ? loaded.steps * F->lines : kind ? running.steps : running.readings;
    if (first > end) return *out = end, RANGE;
    stream.kind = (uint8_t)kind, stream.first = first;
    stream.end = first + MIN(count, end - first); return begin_stream(), DEFERRED;
}
static int arm(const uint8_t *p, uint32_t *out) {
    float low, high, limit; uint32_t width;
    unpack(p, "ffif", &low, &high, &width, &limit);
    if (!(low <= 0 && high >= 0) || isnan(limit)) return LIMIT;
    if (isfinite(limit) && !(F->can & CAN_COMPLIANCE)) return UNSUPPORTED;
    arm_low = fmax(low, F->low_code * F->level_step);
    arm_high = fmin(high, F->high_code * F->level_step); arm_width = MIN(width, F->width_max);
    arm_limit = isfinite(limit) ? fmin(limit, F->compliance_max) : limit;
    armed = 1, state = state == S_SAFE || state == S_STOPPED ? S_ARMED : state, hal_outputs(1);
    return *out = pack(stored.body, "ffif", arm_low, arm_high, arm_width, arm_limit), 0;
}
static int request(uint8_t op, const uint8_t *p, uint32_t len, uint32_t *out) {
    static const struct { uint8_t op, while_running, length; } T[] = { /* 255 any, 254 from 9 */
        {PING, 1, 255}, {ARM, 0, 16}, {SAFE, 1, 0}, {WDOG, 1, 4}, {ERR, 1, 0}, {TRIG, 0, 1},
        {PULSE, 0, 37}, {READ, 0, 28}, {READ_MATRIX, 0, 48}, {SEQ_LOAD, 0, 254},
        {SEQ_RUN, 0, 13}, {SEQ_STATUS, 1, 0}, {FETCH, 1, 9}};
    uint32_t k = 0, value = 0, one_by_one = op >= PULSE && op <= READ_MATRIX;
    while (k < 13 && T[k].op != op) k++;
    if (k == 13) return *out = op, BAD_OP;
    if (T[k].length == 254 ? len < 9 : T[k].length != 255 && T[k].length != len)
        return *out = len, BAD_LENGTH;
    *out = 0; if (state == S_RUNNING && !T[k].while_running) return BUSY;
    if (one_by_one) unpack(p + len - 4, "i", &value);
    if (one_by_one && value != crc32(0, p, len - 4)) return CHECKSUM;
    if (faulty) return faulty = 0, go_safe(WHY_HARDWARE), HARDWARE;
    if (!armed && (one_by_one || op == SEQ_RUN)) return UNARMED;
    switch (op) {
    case PING: return memcpy(stored.body, p, len), *out = len, 0;
    case ARM: return arm(p, out);
    case SAFE: case SEQ_STATUS: return *out = status_block(stored.body), 0;
    case WDOG: unpack(p, "i", &value);
        if (value < 50 || value > 60000) return *out = value, LIMIT;
        return wdog_ms = value, *out = pack(stored.body, "i", wdog_ms), 0;
    case ERR: return *out = pack(stored.body, "hh", errors, latest), errors = latest = 0, 0;
    case TRIG: if (*p > 1) return *out = *p, RANGE;
        if (!(F->can & (*p ? CAN_TRIG_IN : CAN_TRIG_OUT))) return *out = *p, UNSUPPORTED;
        if (*p == 0) hal_trigger();
        return *out = pack(stored.body, "i", hal_edges() - edges_before), 0;
    case PULSE: return give_pulse(p, out);
    case READ: case READ_MATRIX: return read_cells(p, op == READ_MATRIX, out);
    case SEQ_LOAD: return load(p, len, out); case SEQ_RUN: return run_sequence(p, out);
    default: return fetch(p, out);
    }
}
static void poll_deferred(void) /* PULSE and READ are answered when their run is over */ {
    if (!deferred || state == S_RUNNING) return;
    double across = delivered(&now, stream.first) - delivered(&now, stream.end);
    if (deferred == READ) finish(READ, taken ? 0 : UNARMED, taken ? pack_reading(stored.body, readings) : 0);
    else finish(PULSE, 0, pack(stored.body, "fiih", across, on_grid(widest(&now)),
                               ended ? now.repeat : pulses, run_status));
    deferred = 0;
}
/* ---- 2. sessions and numbers ------------------------------------------------------------------ */
static void forget(void) { /* all but the memory, as after a reset */
    memset(&running, 0, sizeof running);
    number = run_number = run_status = 0, taken = ended = pulses = trigger_on = session = 0;
    limited_step = ALL, limited_line = 0xFFFF, wdog_ms = 1000, edges_before = hal_edges();
    state = S_SAFE, armed = why = pulsing = is_loaded = deferred = stream.op = stored.ready = 0;
    hal_outputs(0);
}
static void hello(const uint8_t *p) {
    uint8_t body[212];
    uint32_t challenge, n, size = (uint32_t)strlen(F->identity);
    unpack(p, "i", &challenge);
    forget(), why = WHY_ASKED;
    session = challenge ^ hal_unique(), session += !session;
    n = pack(body, "iihhhhifffiiiiffffiiiii", challenge, boot, BOARD_PAYLOAD, F->rows, F->cols,
             F->lines, F->can, F->low_code * F->level_step, F->high_code * F->level_step,
             F->level_step, F->width_min, F->width_max, F->time_step, F->edge_max,
             F->compliance_min, F->compliance_max, F->current_max, F->current_step,
             (uint32_t)BOARD_SEQ_BYTES, (uint32_t)BOARD_STEPS, (uint32_t)BOARD_READINGS, F->max_run,
             wdog_ms);
    memcpy(body + n, F->identity, MIN(size, 128));
    send(session, 0, HELLO | REPLY, body, n + MIN(size, 128));
}
static void frame(const uint8_t *f, uint32_t len, uint16_t crc) {
    uint32_t of, n, op, next = number == 65535 ? 1 : number + 1u, out;
    uint8_t body[25];
    unpack(f + 1, "ihb", &of, &n, &op);
    int mine = of == session && session, again = mine && n && n == number;
    f += 10, len -= 12; fed = mine ? hal_millis() : fed;
    if (op == SAFE) go_safe(WHY_ASKED);
    if (op == HELLO && n == 0 && len == 4) hello(f);
    else if (op == HELLO && n == 0) send_error(of, 0, HELLO, BAD_LENGTH, len);
    else if (mine && n == next) {
        number = (uint16_t)n, last_crc = crc, stored.op = (uint8_t)op;
        stored.ready = deferred = stream.op = 0;
        int error = request((uint8_t)op, f, len, &out);
        if (error != DEFERRED) finish((uint8_t)op, error, out);
        else if (op == PULSE || op == READ) deferred = (uint8_t)op;
    } else if (again && crc == last_crc) {
        if (stored.ready) send(session, number, stored.op, stored.body, stored.len);
        else if (!deferred) begin_stream();
    } else if (op == SAFE || (mine && n == 0 && op == SEQ_STATUS && len == 0))
        send(of, n, op | REPLY, body, status_block(body));
    else if (!mine || n || op != PING)
        send_error(of, n, op, !mine ? NO_SESSION : again ? CONFLICT : BAD_NUMBER, mine ? next : 0);
}
/* ---- 1. frames in --------------------------------------------------------------------------- */
static void arrived(void) /* the bytes before a delimiter are in rx */ {
    uint32_t from = 0, to = 0, version, length;
    uint16_t crc = 0xFFFF;
    int bad = rx_over != 0;
    while (from < rx_len && !bad) {
        uint32_t code = rx[from++];
        bad = from + code - 1 > rx_len;
        for (uint32_t k = 1; k < code && !bad; k++) rx[to++] = rx[from++];
        if (code < 255 && from < rx_len) rx[to++] = 0;
    }
    bad = bad || to < 12;
    for (uint32_t k = 0; k + 2 < to && !bad; k++) crc = crc16(crc, rx[k]);
    bad = bad || crc != (rx[to - 2] | rx[to - 1] << 8);
    unpack(rx, "b", &version), unpack(rx + 8, "h", &length);
    if (bad || (version == 1 && length != to - 12)) send_error(session, 0, 0, BAD_FRAME, 0);
    else if (version != 1) send_error(session, 0, 0, BAD_VERSION, version);
    else frame(rx, to, crc);
}
static void take(uint8_t byte) {
    if (byte == 0 && (rx_len || rx_over)) arrived();
    if (byte == 0) { rx_len = rx_over = text_len = 0; return; }
    if (rx_len < WIRE) rx[rx_len++] = byte;
    else rx_over = 1;
    if (byte != '\n') { text[MIN(text_len, 7)] = byte, text_len += text_len < 8; return; }
    if (!memcmp(text, "*IDN?", 5) && (text_len == 5 || (text_len == 6 && text[5] == '\r'))) {
        const char *c = F->identity;
        while (*c && room() > 1 && c < F->identity + 128) push((uint8_t)*c++);
        if (room()) push('\n');
        rx_len = rx_len == text_len + 1 ? 0 : rx_len;
    }
    text_len = 0;
}
void board_init(const struct board_features *features) {
    F = features, boot = hal_unique(), errors = latest = 0, faulty = 0;
    rx_len = rx_over = text_len = ring_in = ring_out = 0, forget();
}
void board_fault(void) { faulty = 1, go_safe(WHY_HARDWARE); }
void board_poll(void) {
    uint8_t bytes[64];
    int count = hal_read(bytes, sizeof bytes);
    for (int k = 0; k < count; k++) take(bytes[k]);
    if (!hal_linked()) go_safe(WHY_LINK);
    if (armed && hal_millis() - fed >= wdog_ms) go_safe(WHY_WATCHDOG);
    poll_run(), poll_deferred(), poll_stream();
    while (ring_out != ring_in) {
        uint32_t end = ring_out < ring_in ? ring_in : RING;
        int sent = hal_write(ring + ring_out, (int)(end - ring_out));
        if (sent <= 0) break;
        ring_out = (ring_out + (uint32_t)sent) % RING;
    }
}
int board_idle(void) {
    return (state != S_RUNNING || trigger_on) && !stream.op && ring_out == ring_in;
}
