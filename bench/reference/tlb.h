/* The TLBs of the reference. A key holds what must match in one word, so that a look costs one comparison. */
#ifndef TLB_H
#define TLB_H

#include "walk.h"

/* The owner of an entry for every PCID; else the PCID and 1, so that no key is 0. */
enum { EVERYONE = 4097 };

/* Linear page number in bits 35:0, the leaf's level above it, the owner from bit 40 on. */
static inline uint64_t page_key(uint64_t linear, int level, uint32_t owner) {
    return ((linear & UINT64_C(0xffffffffffff) & ~offset_mask(level)) >> 12) | ((uint64_t)level << 36) |
           ((uint64_t)owner << 40);
}

static bool is_global(const struct cpu *cpu, struct answer walk) {
    return cpu->control.globals && (walk.entry & G) != 0;
}

static uint32_t flags_of(struct answer walk, bool global) {
    return walk.rights | (walk.dirty ? D : 0) | (global ? G : 0);
}

/* -- the hash table without a capacity (stale-tlb.ts); this one never grows, 64 pages fit --------------------------- */

struct stale_slot {
    uint64_t key; /* 0 = empty; the owner is a generation */
    uint64_t frame;
    uint32_t flags;
    uint32_t offset; /* mask of the offset */
};

enum { STALE_SLOTS = 1024 };

/* In front of it the translations that hit last, each for one page and one access (recent-translations.ts). */
enum { RECENT_SLOTS = 128, RECENT_USED = 0x800 };

struct stale_tlb {
    struct {
        uint64_t key;
        uint64_t base;
    } recent[RECENT_SLOTS];
    struct stale_slot slots[STALE_SLOTS];
    uint32_t generation;
};

static struct stale_slot *stale_slot(struct stale_tlb *tlb, uint64_t key) {
    uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    uint32_t mixed = (low ^ (high * 0x85ebca6bu)) * 0x9e3779b1u;
    uint32_t at = (mixed ^ (mixed >> 15)) % STALE_SLOTS;
    while (tlb->slots[at].key != 0 && tlb->slots[at].key != key) at = (at + 1) % STALE_SLOTS;
    return &tlb->slots[at];
}

static uint64_t stale_fill(struct cpu *cpu, struct stale_slot *slot, uint64_t key, uint64_t linear, int kind) {
    struct answer walked = walk(cpu, linear, kind, cpu->mode);
    if (walked.code != OK) stop("a fault");
    uint64_t mask = offset_mask(walked.level);
    *slot = (struct stale_slot){key, walked.entry & FRAME & ~mask, flags_of(walked, false), (uint32_t)mask};
    return physical_of(walked, linear);
}

/* Looks in the table, judges what it finds, and keeps the answer in front. */
__attribute__((noinline)) static uint64_t stale_look(struct cpu *cpu, struct stale_tlb *tlb, uint64_t linear,
                                                     int kind) {
    uint64_t key = page_key(linear, 1, tlb->generation);
    struct stale_slot *slot = stale_slot(tlb, key);
    if (slot->key == 0) return stale_fill(cpu, slot, key, linear, kind);
    if (denied_by(&cpu->control, slot->flags, kind, cpu->mode) != 0) stop("denied");
    if ((kind & WRITE) && !(slot->flags & D)) return stale_fill(cpu, slot, key, linear, kind);
    uint64_t physical = slot->frame | (linear & slot->offset);
    uint32_t at = (linear >> 12) % RECENT_SLOTS;
    tlb->recent[at].key = (linear & ~UINT64_C(0xfff)) | RECENT_USED | (uint64_t)(cpu->mode << 3 | kind);
    tlb->recent[at].base = physical & ~UINT64_C(0xfff);
    return physical;
}

static inline uint64_t stale_translate(struct cpu *cpu, struct stale_tlb *tlb, uint64_t linear, int kind) {
    uint32_t at = (linear >> 12) % RECENT_SLOTS;
    uint64_t key = (linear & ~UINT64_C(0xfff)) | RECENT_USED | (uint64_t)(cpu->mode << 3 | kind);
    if (__builtin_expect(tlb->recent[at].key == key, 1)) return tlb->recent[at].base | (linear & 0xfff);
    return stale_look(cpu, tlb, linear, kind);
}

/* -- 2,048 entries with sets and ways (set-associative-tlb.ts); the one used longest ago makes room ------------------ */

enum { SETS = 256, WAYS = 8 };

/* The keys of a set fill one line of the host's cache. */
struct set {
    uint64_t key[WAYS];
    uint64_t frame[WAYS];
    uint32_t flags[WAYS];
    uint32_t last_use[WAYS]; /* 0 = empty */
};

struct set_tlb {
    struct set sets[SETS];
    uint32_t time;
};

static inline bool holds(const struct set *set, uint64_t key) {
    for (int way = 0; way < WAYS; way++)
        if (set->key[way] == key) return true;
    return false;
}

__attribute__((noinline)) static uint64_t set_fill(struct cpu *cpu, struct set_tlb *tlb, uint64_t linear, int kind) {
    struct answer walked = walk(cpu, linear, kind, cpu->mode);
    if (SELDOM(walked.code != OK)) stop("a fault");
    uint64_t mask = offset_mask(walked.level);
    bool global = is_global(cpu, walked);
    struct set *set = &tlb->sets[(linear >> 12) % SETS];
    int chosen = 0;
    uint32_t oldest = set->last_use[0];
    for (int way = 1; way < WAYS; way++) {
        if (set->last_use[way] < oldest) {
            oldest = set->last_use[way];
            chosen = way;
        }
    }
    set->key[chosen] = page_key(linear, walked.level, global ? EVERYONE : cpu->control.pcid + 1);
    set->frame[chosen] = walked.entry & FRAME & ~mask;
    set->flags[chosen] = flags_of(walked, global);
    set->last_use[chosen] = ++tlb->time;
    return set->frame[chosen] | (linear & mask);
}

/* Of an access that the TLB does not hold, neither for its PCID nor for everyone. */
static inline uint64_t miss_translate(struct cpu *cpu, struct set_tlb *tlb, uint64_t linear, int kind) {
    const struct set *set = &tlb->sets[(linear >> 12) % SETS];
    if (holds(set, page_key(linear, 1, cpu->control.pcid + 1))) stop("a TLB hit");
    if (holds(set, page_key(linear, 1, EVERYONE))) stop("a TLB hit");
    return set_fill(cpu, tlb, linear, kind);
}

#endif
