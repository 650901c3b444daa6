/* The firmware as a process (POSIX): the protocol on descriptor 0, the array on another descriptor.
 *
 * To the array go, with their kind first: 'O' + on; 'P' + struct board_pulse + lines changed, and
 * then all lines; 'q'. From it come: 'R' + status u16 + per sensed line (count i32, status u16);
 * 'Q' asks for 'q' as soon as the board has read everything and has nothing left to do; 'F' is a
 * fault of the hardware, 'T' an edge at the trigger input, 'L' + 1 byte whether the host is there.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "board.h"

struct line { uint8_t state, sense; uint16_t unused; int32_t code; uint32_t width; float limit; };
static struct board_features features;
static struct line lines[BOARD_LINES];
static uint16_t line_status[BOARD_LINES], pulse_status;
static int32_t counts[BOARD_LINES];
static uint32_t unique, edges;
static int array_side, changed = 1, finished, asked, read_nothing, awaiting, linked = 1;

static void tell(const void *bytes, size_t count)
{
    const char *p = bytes;
    while (count) {
        ssize_t n = write(array_side, p, count);
        if (n <= 0)
            exit(0);
        p += n, count -= (size_t)n;
    }
}

static void hear(void *bytes, size_t count)
{
    char *p = bytes;
    while (count) {
        ssize_t n = read(array_side, p, count);
        if (n <= 0)
            exit(0);
        p += n, count -= (size_t)n;
    }
}

static void listen_to_array(void)
{
    struct pollfd fd = {array_side, POLLIN, 0};
    while (poll(&fd, 1, 0) > 0) {
        char kind;
        hear(&kind, 1);
        if (kind == 'Q')
            asked = 1;
        else if (kind == 'F')
            board_fault();
        else if (kind == 'T')
            edges++;
        else if (kind == 'L') {
            hear(&kind, 1);
            linked = kind;
        } else {
            uint8_t readings[6 * BOARD_LINES], *p = readings;
            size_t sensed = 0;
            for (int k = 0; k < features.lines; k++)
                sensed += lines[k].sense;
            hear(&pulse_status, 2);
            hear(readings, 6 * sensed);
            for (int k = 0; k < features.lines; k++) {
                if (!lines[k].sense)
                    continue;
                memcpy(&counts[k], p, 4);
                memcpy(&line_status[k], p + 4, 2);
                p += 6;
            }
            finished = 1, awaiting = 0;
        }
    }
}

int hal_read(uint8_t *bytes, int most)
{
    ssize_t n = read(0, bytes, (size_t)most);
    if (n < 0 && errno == EIO) /* a pseudo terminal without the other side */
        linked = 0;
    else if (n > 0)
        linked = 1;
    if (n == 0)
        exit(0);
    read_nothing = n < 0;
    return n < 0 ? 0 : (int)n;
}

int hal_write(const uint8_t *bytes, int count)
{
    ssize_t n = write(0, bytes, (size_t)count);
    return n < 0 ? 0 : (int)n;
}

uint32_t hal_millis(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

uint32_t hal_unique(void) { return unique++; }
int hal_linked(void) { return linked; }
uint32_t hal_edges(void) { return edges; }
void hal_trigger(void) { tell("t", 1); }

void hal_outputs(int on)
{
    char message[2] = {'O', (char)on};
    tell(message, 2);
    finished = 0;
}

void hal_line(uint16_t line, uint8_t state, int32_t code, uint32_t width, float compliance,
              uint8_t sense)
{
    struct line now = {state, sense, 0, code, width, compliance};
    changed |= memcmp(&now, &lines[line], sizeof now) != 0;
    lines[line] = now;
}

void hal_begin(const struct board_pulse *pulse)
{
    char message[2 + sizeof *pulse] = {'P'};
    memcpy(message + 1, pulse, sizeof *pulse);
    message[sizeof message - 1] = (char)changed;
    tell(message, sizeof message);
    if (changed)
        tell(lines, sizeof *lines * features.lines);
    changed = finished = 0, awaiting = 1;
}

int hal_done(uint16_t *status)
{
    if (!finished)
        listen_to_array();
    if (finished)
        *status |= pulse_status;
    return finished;
}

int32_t hal_reading(uint16_t line, uint16_t *status)
{
    *status |= line_status[line];
    return counts[line];
}

int main(int argc, char **argv) /* rows cols capabilities unique descriptor */
{
    if (argc != 6)
        return 2;
    features.rows = (uint16_t)atoi(argv[1]), features.cols = (uint16_t)atoi(argv[2]);
    features.lines = (uint16_t)(features.rows + features.cols);
    features.can = (uint32_t)atoi(argv[3]), unique = (uint32_t)atol(argv[4]);
    array_side = atoi(argv[5]);
    features.level_step = 0.0005, features.low_code = -20000, features.high_code = 20000;
    features.current_step = 1e-9, features.current_max = 1e-2f;
    features.compliance_min = 1e-9f, features.compliance_max = 1e-2f;
    features.width_min = 100, features.width_max = 1000000000, features.time_step = 10;
    features.edge_max = 1000000, features.max_run = 2000000000;
    features.identity = "synapse-hil,Firmware,0001,1.0";
    fcntl(0, F_SETFL, O_NONBLOCK);
    board_init(&features);
    for (;;) {
        board_poll();
        listen_to_array();
        if (asked == 2 && read_nothing && board_idle()) { /* it has looked since it was asked */
            asked = 0;
            tell("q", 1);
        }
        if (asked == 1 || !read_nothing || !(board_idle() || awaiting)) {
            asked += asked == 1;
            continue;
        }
        struct pollfd fds[2] = {{0, POLLIN, 0}, {array_side, POLLIN, 0}};
        poll(fds, 2, 1);
        if (fds[0].revents & POLLHUP && !(fds[0].revents & POLLIN))
            return 0;
    }
}
