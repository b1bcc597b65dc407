// Where cases read and write that use a file again and again: everywhere, in pieces of all sizes.
#pragma once
#define SIZE (300 * 1024L)
#define LONGEST 200000

static const long pieces[] = {1, 16, 17, 511, 512, 513, 4095, 4096, 4097, 65536, LONGEST};
#define PIECES (int)(sizeof pieces / sizeof *pieces)

// The start of the `s`th piece of round `i` in so many bytes, and how many of its bytes there are.
static long piece_start(int i, int s, long size) { return (i * 7919L + s * 104729L) % size; }
static long piece_len(int s, long from, long size) { return pieces[s] < size - from ? pieces[s] : size - from; }
