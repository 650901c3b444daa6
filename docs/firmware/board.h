/* The framed serial protocol for array boards, version 1: see ../serial-protocol.md.
 * Write the functions hal_..., call board_init() once and board_poll() for ever. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#ifndef BOARD_LINES
#define BOARD_LINES 128 /* most lines of the array */
#endif
#ifndef BOARD_PAYLOAD
#define BOARD_PAYLOAD 1024 /* of one frame, 256 ... 8192 */
#endif
#ifndef BOARD_SEQ_BYTES
#define BOARD_SEQ_BYTES 32768u
#endif
#ifndef BOARD_READINGS
#define BOARD_READINGS 8192u
#endif
#ifndef BOARD_STEPS
#define BOARD_STEPS 1024u
#endif

enum { CAN_FLOAT = 1, CAN_LINE_WIDTH = 2, CAN_PARALLEL_SENSE = 4, CAN_COMPLIANCE = 8,
       CAN_TRIG_OUT = 16, CAN_TRIG_IN = 32, CAN_SIMULATED = 0x400 };
enum { LINE_FLOAT, LINE_GROUND, LINE_DRIVE };
enum { STATUS_LIMITED = 1, STATUS_OVER_RANGE = 4, STATUS_INTERLOCK = 0x200 };

/* What a board is and can: volts, amperes, nanoseconds. Levels are multiples of level_step. */
struct board_features {
    uint16_t rows, cols, lines;
    uint32_t can;
    double level_step, current_step;
    int32_t low_code, high_code;
    uint32_t width_min, width_max, time_step, edge_max, max_run;
    float compliance_min, compliance_max, current_max;
    const char *identity; /* "maker,model,serial number,firmware", up to 128 bytes */
};

/* One pulse as it is to be delivered; every time is on the grid of time_step. */
struct board_pulse {
    uint32_t width, rise, fall, gap; /* of the step; each line has its own width, too */
    uint32_t delay, aperture;        /* of the measurement; aperture 0 = to the end of the width */
    float range;                     /* A, the least measuring range that must hold */
};

/* ---- what you write ---------------------------------------------------------------------- */

/* Copy up to `most` bytes that have come; return how many. Never waits. */
int hal_read(uint8_t *bytes, int most);
/* Send up to `count` bytes; return how many were taken. Never waits. */
int hal_write(const uint8_t *bytes, int count);
/* Milliseconds since any time; wraps around. */
uint32_t hal_millis(void);
/* Another number at every call, also after a reset: a counter in flash, or random. */
uint32_t hal_unique(void);
/* 0 when the host has gone (USB detached, DTR off); 1 also where the board cannot know. */
int hal_linked(void);
/* Connect the outputs, all at 0 V, or switch them off at once, also during a pulse. */
void hal_outputs(int on);
/* Set what one line does in the pulses from now on. level = code * level_step. */
void hal_line(uint16_t line, uint8_t state, int32_t code, uint32_t width, float compliance,
              uint8_t sense);
/* Begin a pulse; the lines are set. Nothing is driven when its width is 0. */
void hal_begin(const struct board_pulse *pulse);
/* Return 1 when the pulse and its gap are over; add to *status what happened on any line. */
int hal_done(uint16_t *status);
/* Return the mean current into the array through a sensed line, in units of current_step. Add
 * STATUS_OVER_RANGE and STATUS_LIMITED to *status where they are true. */
int32_t hal_reading(uint16_t line, uint16_t *status);
/* Edges at the trigger input so far; 0 without one. */
uint32_t hal_edges(void);
/* Give a pulse at the trigger output. */
void hal_trigger(void);

/* ---- what you call ----------------------------------------------------------------------- */

void board_init(const struct board_features *features);
/* Do what is due; call it all the time, at least every millisecond. */
void board_poll(void);
/* Return 1 while there is nothing to do before the next byte or millisecond: time to sleep. */
int board_idle(void);
/* Report a fault of the hardware: outputs off, the next request is answered with HARDWARE. */
void board_fault(void);

#endif
