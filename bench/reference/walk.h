/*
 * The processor of the reference: control state, rights, and the walk with the checks of arch/x86/cpu. The common walk,
 * of four levels with nothing to set and nothing in the way, is unrolled; all else goes through the general loop.
 */
#ifndef WALK_H
#define WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define P 1u
#define W 2u
#define U 4u
#define A 0x20u
#define D 0x40u
#define PS 0x80u
#define G 0x100u
#define XD (UINT64_C(1) << 63)
#define FRAME UINT64_C(0x000ffffffffff000)
#define SELDOM(condition) __builtin_expect((condition), 0)

enum { READ = 0, WRITE = 1, FETCH = 2 };
enum { SUPERVISOR = 0, USER = 1 };
enum { OK, NOT_PRESENT, RESERVED, DENIED, NOT_CANONICAL };
enum { DENIED_USER = 1, DENIED_WRITE = 2, DENIED_EXECUTE = 4, DENIED_KEY = 0x20 };
/* Raw rights beside W and U: no execution, shadow-stack page; the key stands above. */
enum { RIGHT_XD = 8, RIGHT_SHADOW_STACK = 0x10, KEY_SHIFT = 16 };

struct control {
    int levels;
    uint64_t root;
    uint64_t reserved;       /* of every entry */
    uint64_t reserved_top;   /* of a PML4E or PML5E, as the two below beside those */
    uint64_t reserved_2m;
    uint64_t reserved_1g;
    bool keys;
    uint32_t pkru;
    uint32_t pcid;
    bool globals;
    uint8_t permissions[512];
};

/* What the general walk found. */
struct result {
    int code;
    int level;
    uint64_t linear;
    uint64_t entry;
    uint64_t above;
    uint32_t rights;
    bool dirty;
    uint64_t *path[6];
    uint64_t path_entry[6];
};

/* What every walk answers, in two registers. */
struct answer {
    uint64_t entry;
    uint32_t rights;
    uint8_t code;
    uint8_t level;
    bool dirty;
};

struct cpu {
    uint8_t *memory;
    uint64_t size;
    struct control control;
    int mode;
};

static void stop(const char *why) {
    fprintf(stderr, "mmu: %s\n", why);
    exit(1);
}

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL) stop("out of memory");
    return memory;
}

static uint8_t judge(uint32_t rights, int kind, int mode) {
    uint8_t denied = 0;
    if (mode == USER && !(rights & U)) denied |= DENIED_USER;
    if ((kind & WRITE) && !(rights & W)) denied |= DENIED_WRITE;
    if ((kind & FETCH) && (rights & RIGHT_XD)) denied |= DENIED_EXECUTE;
    return denied;
}

static uint32_t judge_key(const struct control *control, uint32_t rights, int kind) {
    uint32_t bits = control->pkru >> (2 * ((rights >> KEY_SHIFT) & 15));
    if ((kind & FETCH) || !(rights & U)) return 0;
    return (bits & 1) || ((kind & WRITE) && (bits & 2)) ? DENIED_KEY : 0;
}

static uint32_t denied_by(const struct control *control, uint32_t rights, int kind, int mode) {
    uint32_t denied = control->permissions[(mode << 7) | (kind << 4) | ((rights >> 1) & 15)];
    return control->keys ? denied | judge_key(control, rights, kind) : denied;
}

static bool is_canonical(uint64_t linear, int levels) {
    int shift = levels == 5 ? 7 : 16;
    return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}

static uint64_t offset_mask(int level) {
    return (UINT64_C(1) << (3 + 9 * level)) - 1;
}

/* Raw rights from the AND of the entries above the leaf, the OR of all of them, and the leaf itself. */
static uint32_t rights_of(uint64_t above, uint64_t any, uint64_t entry) {
    return (uint32_t)(above & entry & (W | U)) | (uint32_t)((any >> 60) & RIGHT_XD) |
           ((uint32_t)(above & ~entry & (entry >> 5) & W) << 3) | ((uint32_t)(entry >> 59) & 15) << KEY_SHIFT;
}

/* Reads entries from the root down to a leaf or to the entry that stops the walk. */
static int descend(const struct cpu *cpu, uint64_t linear, bool keep, struct result *result) {
    const struct control *control = &cpu->control;
    uint64_t table = control->root, entry, above = ~UINT64_C(0), any = 0;
    int level = control->levels, code = OK;
    for (;;) {
        uint64_t address = (table & FRAME) + 8 * ((linear >> (3 + 9 * level)) & 0x1ff);
        entry = address < cpu->size ? *(uint64_t *)(cpu->memory + address) : ~UINT64_C(0);
        if (keep) {
            result->path[level] = (uint64_t *)(cpu->memory + address);
            result->path_entry[level] = entry;
        }
        if (!(entry & P)) {
            code = NOT_PRESENT;
            break;
        }
        if (entry & control->reserved) {
            code = RESERVED;
            break;
        }
        any |= entry;
        if (level == 1) break;
        if (level >= 4) {
            if (entry & control->reserved_top) {
                code = RESERVED;
                break;
            }
        } else if (entry & PS) {
            if (entry & (level == 2 ? control->reserved_2m : control->reserved_1g)) code = RESERVED;
            break;
        }
        above &= entry;
        table = entry;
        level--;
    }
    result->level = level;
    result->entry = entry;
    result->above = above;
    result->dirty = (entry & D) != 0;
    result->rights = rights_of(above, any, entry);
    return code;
}

/* Sets the missing bits, each by a compare-and-swap; false when an entry changed meanwhile. */
static bool update(const struct cpu *cpu, int kind, struct result *result) {
    for (int level = cpu->control.levels; level >= result->level; level--) {
        uint64_t old = result->path_entry[level];
        uint64_t bits = level == result->level && (kind & WRITE) ? A | D : A;
        if ((bits & ~old) == 0) continue;
        if (!__atomic_compare_exchange_n(result->path[level], &old, old | bits, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST))
            return false;
    }
    if (kind & WRITE) result->dirty = true;
    return true;
}

__attribute__((noinline, cold)) static struct answer walk_generally(const struct cpu *cpu, uint64_t linear, int kind,
                                                                    int mode) {
    static struct result result;
    result.linear = linear;
    if (!is_canonical(linear, cpu->control.levels)) return (struct answer){.code = NOT_CANONICAL};
    for (bool keep = false;; keep = true) {
        int code = descend(cpu, linear, keep, &result);
        if (code == OK && denied_by(&cpu->control, result.rights, kind, mode) != 0) code = DENIED;
        uint64_t missing = (~result.above & A) | (~result.entry & (kind & WRITE ? A | D : A));
        if (code == OK && missing != 0 && !(keep && update(cpu, kind, &result))) continue;
        return (struct answer){result.entry, result.rights, (uint8_t)code, (uint8_t)result.level, result.dirty};
    }
}

/* Where it stands in memory of the entry of a table, or a way out. */
#define STEP(entry, table, shift)                                                  \
    at = ((table) & FRAME) | (((linear >> (shift)) & 0x1ff) << 3);                 \
    if (SELDOM(at >= size)) return walk_generally(cpu, linear, kind, mode);        \
    entry = *(const uint64_t *)(memory + at)

__attribute__((noinline)) static struct answer walk(const struct cpu *cpu, uint64_t linear, int kind, int mode) {
    const struct control *control = &cpu->control;
    const uint64_t size = cpu->size, reserved = control->reserved;
    const uint8_t *memory = cpu->memory;
    uint64_t e4, e3, e2, e1, entry, above, any, at;
    int level = 1;
    if (SELDOM(!is_canonical(linear, 4) || control->levels != 4)) return walk_generally(cpu, linear, kind, mode);
    STEP(e4, control->root, 39);
    if (SELDOM((e4 & (P | PS | reserved)) != P)) return walk_generally(cpu, linear, kind, mode);
    STEP(e3, e4, 30);
    if (SELDOM((e3 & (P | PS | reserved)) != P)) return walk_generally(cpu, linear, kind, mode);
    STEP(e2, e3, 21);
    if (SELDOM((e2 & (P | reserved)) != P)) return walk_generally(cpu, linear, kind, mode);
    above = e4 & e3;
    any = e4 | e3;
    if (e2 & PS) {
        if (e2 & control->reserved_2m) return walk_generally(cpu, linear, kind, mode);
        entry = e2;
        level = 2;
    } else {
        above &= e2;
        any |= e2;
        STEP(e1, e2, 12);
        if (SELDOM((e1 & (P | reserved)) != P)) return walk_generally(cpu, linear, kind, mode);
        entry = e1;
    }
    uint32_t rights = rights_of(above, any | entry, entry);
    uint64_t wanted = kind & WRITE ? A | D : A;
    if (SELDOM(denied_by(control, rights, kind, mode) != 0)) return walk_generally(cpu, linear, kind, mode);
    if (SELDOM(((~above & A) | (~entry & wanted)) != 0)) return walk_generally(cpu, linear, kind, mode);
    return (struct answer){entry, rights, OK, (uint8_t)level, (entry & D) != 0};
}

static uint64_t physical_of(struct answer answer, uint64_t linear) {
    uint64_t mask = offset_mask(answer.level);
    return (answer.entry & FRAME & ~mask) | (linear & mask);
}

#endif
