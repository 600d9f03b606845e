/*
 * The other implementation: what rpcgen makes of vmwire.x, with the XDR library of libtirpc.
 *
 *   peer echo client|server                        reads packets, decodes them, encodes them again, writes them
 *   peer make client|server SEED COUNT NUMBER...   makes COUNT packets of each number and writes them
 *
 * On the pipes a packet is its length (4 bytes, big-endian) and its payload. The test compiles this file beside the two
 * files that rpcgen makes: vmwire.h and vmwire_xdr.c.
 *
 * Values are made by the generated code itself: it walks over a value as if it were decoding, and the primitives it calls
 * answer with random values instead of reading any. So no field can be forgotten here.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmwire.h"

static int making;                          /* the primitives make values */
static u_int type;                          /* the number of the packet that is being made */
static uint64_t state;                      /* of the generator */
static size_t budget;                       /* bytes that the lists and strings of a value may still take */

/* SplitMix64. */
static uint64_t bits(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t number(uint64_t max)
{
    uint64_t any = bits();
    switch (bits() % 6) {
    case 0: return 0;
    case 1: return max;
    case 2: return 1;
    case 3: return max / 2 + any % 2;
    default: return any & max;
    }
}

/* A length up to a bound, the bounds often. */
static u_int length(u_int max, size_t unit)
{
    u_int most = max, got;
    if (most > budget / unit)
        most = (u_int) (budget / unit);
    switch (bits() % 8) {
    case 0: case 1: got = 0; break;
    case 2: got = most < 1 ? most : 1; break;
    case 3: got = most; break;
    case 4: got = (u_int) (bits() % ((uint64_t) most + 1)); break;
    default: got = (u_int) (bits() % ((most < 20 ? most : 20) + 1)); break;
    }
    budget -= (size_t) got * unit;
    return got;
}

static void *room(size_t bytes)
{
    void *room = calloc(1, bytes ? bytes : 1);
    if (!room) {
        fputs("peer: no memory\n", stderr);
        exit(1);
    }
    return room;
}

static bool_t made_u_int(XDR *x, u_int *value, const char *field)
{
    if (!making)
        return xdr_u_int(x, value);
    if (strcmp(field, "&objp->type") == 0)
        *value = type;
    else if (strcmp(field, "&objp->kind") == 0)
        *value = (u_int) (bits() % 4);      /* the one discriminant inside a body, with its four arms */
    else
        *value = (u_int) number(UINT32_MAX);
    return TRUE;
}

static bool_t made_u_quad_t(XDR *x, u_quad_t *value)
{
    if (!making)
        return xdr_u_quad_t(x, value);
    *value = number(UINT64_MAX);
    return TRUE;
}

static bool_t made_bool(XDR *x, bool_t *value)
{
    if (!making)
        return xdr_bool(x, value);
    *value = (bool_t) (bits() % 2);
    return TRUE;
}

static bool_t made_string(XDR *x, char **value, u_int max)
{
    static const char *const characters[] = {
        "a", "Z", "\n", "\x01", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };
    if (!making)
        return xdr_string(x, value, max);
    u_int bytes = length(max, 1), at = 0;
    *value = room((size_t) bytes + 1);
    while (at < bytes) {
        const char *character = characters[bits() % (sizeof characters / sizeof *characters)];
        size_t size = strlen(character);
        if (size > bytes - at) {
            character = "x";
            size = 1;
        }
        memcpy(*value + at, character, size);
        at += (u_int) size;
    }
    return TRUE;
}

static bool_t made_opaque(XDR *x, char *value, u_int bytes)
{
    if (!making)
        return xdr_opaque(x, value, bytes);
    for (u_int at = 0; at < bytes; at++)
        value[at] = (char) bits();
    return TRUE;
}

static bool_t made_bytes(XDR *x, char **value, u_int *bytes, u_int max)
{
    if (!making)
        return xdr_bytes(x, value, bytes, max);
    *bytes = length(max, 1);
    *value = room(*bytes);
    return made_opaque(x, *value, *bytes);
}

static bool_t made_array(XDR *x, char **values, u_int *count, u_int max, u_int size, xdrproc_t element)
{
    if (!making)
        return xdr_array(x, values, count, max, size, element);
    *count = length(max, 4);
    *values = room((size_t) *count * size);
    for (u_int at = 0; at < *count; at++)
        if (!element(x, *values + (size_t) at * size, 0))
            return FALSE;
    return TRUE;
}

static bool_t made_pointer(XDR *x, char **value, u_int size, xdrproc_t element)
{
    if (!making)
        return xdr_pointer(x, value, size, element);
    *value = NULL;
    if (bits() % 2 == 0)
        return TRUE;
    *value = room(size);
    return element(x, *value, 0);
}

/* Only elements of lists get here: numbers, by the library's own xdr_u_int. */
static bool_t made_long(XDR *x, long *value)
{
    (void) x;
    *value = (long) (int32_t) number(UINT32_MAX);
    return TRUE;
}

static int32_t *no_inline(XDR *x, u_int bytes)
{
    (void) x;
    (void) bytes;
    return NULL;
}

/* Macros with arguments: where the generated code names a function without calling it, it means the library's. */
#define xdr_u_int(x, value) made_u_int(x, value, #value)
#define xdr_u_quad_t(x, value) made_u_quad_t(x, value)
#define xdr_bool(x, value) made_bool(x, value)
#define xdr_string(x, value, max) made_string(x, value, max)
#define xdr_opaque(x, value, bytes) made_opaque(x, value, bytes)
#define xdr_bytes(x, value, bytes, max) made_bytes(x, value, bytes, max)
#define xdr_array(x, values, count, max, size, element) made_array(x, values, count, max, size, element)
#define xdr_pointer(x, value, size, element) made_pointer(x, value, size, element)

#include "vmwire_xdr.c"

/* ---- Packets on pipes. ---- */

enum { PAYLOAD_MAX = 4 * 1024 * 1024 };

static char in[PAYLOAD_MAX], out[PAYLOAD_MAX];

static void fail(const char *what, unsigned at)
{
    fprintf(stderr, "peer: packet %u: %s\n", at, what);
    exit(1);
}

static void put(u_int bytes)
{
    unsigned char head[4] = { bytes >> 24, bytes >> 16, bytes >> 8, bytes };
    if (fwrite(head, 1, 4, stdout) != 4 || fwrite(out, 1, bytes, stdout) != bytes) {
        fputs("peer: cannot write\n", stderr);
        exit(1);
    }
}

static void encode(xdrproc_t packet, void *value, unsigned at)
{
    XDR x;
    xdrmem_create(&x, out, sizeof out, XDR_ENCODE);
    if (!packet(&x, value, 0))
        fail("cannot be encoded", at);
    put(xdr_getpos(&x));
}

static void echo(xdrproc_t packet, void *value, size_t size)
{
    unsigned char head[4];
    for (unsigned at = 0; fread(head, 1, 4, stdin) == 4; at++) {
        u_int bytes = (u_int) head[0] << 24 | (u_int) head[1] << 16 | (u_int) head[2] << 8 | head[3];
        XDR x;
        if (bytes > sizeof in || fread(in, 1, bytes, stdin) != bytes)
            fail("is cut short", at);
        memset(value, 0, size);
        xdrmem_create(&x, in, bytes, XDR_DECODE);
        if (!packet(&x, value, 0))
            fail("cannot be decoded", at);
        if (xdr_getpos(&x) != bytes)
            fail("has bytes left over", at);
        encode(packet, value, at);
        xdr_free(packet, value);
    }
}

int main(int argc, char **argv)
{
    static const struct xdr_ops ops = { .x_getlong = made_long, .x_inline = no_inline };
    XDR maker = { .x_op = XDR_DECODE, .x_ops = &ops };
    client_packet client;
    server_packet server;

    if (argc < 3)
        return 2;
    int is_client = strcmp(argv[2], "client") == 0;
    xdrproc_t packet = is_client ? (xdrproc_t) xdr_client_packet : (xdrproc_t) xdr_server_packet;
    void *value = is_client ? (void *) &client : (void *) &server;
    size_t size = is_client ? sizeof client : sizeof server;
    if (strcmp(argv[1], "echo") == 0) {
        echo(packet, value, size);
        return 0;
    }
    if (argc < 5)
        return 2;
    state = strtoull(argv[3], NULL, 10);
    unsigned count = (unsigned) strtoul(argv[4], NULL, 10);
    for (int arm = 5; arm < argc; arm++) {
        type = (u_int) strtoul(argv[arm], NULL, 10);
        for (unsigned at = 0; at < count; at++) {
            memset(value, 0, size);
            budget = bits() % 16 == 0 ? 256 * 1024 : 8 * 1024;
            making = 1;
            if (!packet(&maker, value, 0))
                fail("cannot be made", at);
            making = 0;
            encode(packet, value, at);
            xdr_free(packet, value);
        }
    }
    return 0;
}
