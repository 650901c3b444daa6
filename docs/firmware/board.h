/* The framed serial protocol for array boards, version 1: README.md, ../serial-protocol.md. */
#pragma once
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
#define BOARD_READINGS 8192u /* of one run */
#endif
#ifndef BOARD_STEPS
#define BOARD_STEPS 1024u /* of one sequence */
#endif
enum { CAN_FLOAT = 1, CAN_LINE_WIDTH = 2, CAN_PARALLEL_SENSE = 4, CAN_COMPLIANCE = 8,
       CAN_TRIG_OUT = 16, CAN_TRIG_IN = 32, CAN_SIMULATED = 0x400 };
enum { LINE_FLOAT, LINE_GROUND, LINE_DRIVE }; enum { STATUS_LIMITED = 1, STATUS_OVER_RANGE = 4, STATUS_INTERLOCK = 0x200 };
struct board_features { /* V, A, ns; levels are multiples of level_step, times of time_step */
    uint16_t rows, cols, lines;
    uint32_t can, width_min, width_max, time_step, edge_max, max_run;
    double level_step, current_step;
    int32_t low_code, high_code;
    float compliance_min, compliance_max, current_max;
    const char *identity; /* "maker,model,serial number,firmware" */
};
struct board_pulse { /* ns; aperture 0 = to the end of the width; range: least range in A */
    uint32_t width, rise, fall, gap, delay, aperture;
    float range;
};
/* What you write (none of it waits), and what you call. */
int hal_read(uint8_t *bytes, int most);          /* copy bytes that have come; how many */
int hal_write(const uint8_t *bytes, int count);  /* send bytes; how many were taken */
uint32_t hal_millis(void);                       /* since any time; wraps around */
uint32_t hal_unique(void);   /* another number each time, also after a reset: random, or in flash */
int hal_linked(void);        /* 0 when the host has gone (USB detached, DTR off) */
void hal_outputs(int on);    /* 1: connect, all at 0 V; 0: off at once, also during a pulse */
void hal_line(uint16_t line, uint8_t state, int32_t code, uint32_t width, float compliance,
              uint8_t sense); /* what it does in the pulses from now on; code * level_step = V */
void hal_begin(const struct board_pulse *pulse); /* the lines are set; width 0 drives nothing */
int hal_done(uint16_t *status);      /* 1 when pulse and gap are over; add status bits of any line */
int32_t hal_reading(uint16_t line, uint16_t *status); /* mean current, in current_step */
uint32_t hal_edges(void);            /* edges at the trigger input so far; 0 without one */
void hal_trigger(void);              /* give a pulse at the trigger output */
void board_init(const struct board_features *features);
void board_poll(void);  /* do what is due; all the time, at least every millisecond */
int board_idle(void);   /* 1 while there is nothing to do before the next byte or millisecond */
void board_fault(void); /* the hardware failed: outputs off, the next request is answered so */
