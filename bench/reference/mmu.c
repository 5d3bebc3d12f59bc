/*
 * The reference: the same page tables, in the same order, with the same checks as the benchmarks of the same names, in
 * C. The tables are those of user-pages.ts; the walk, the rights and the TLBs work as in arch/x86/cpu.
 *
 *   mmu NAME...   measures these and prints one JSON object a line: name, nsPerOp
 *   mmu           reads lines "NAME PASSES" and answers each after that many passes, with a checksum of one pass
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define P 1u
#define W 2u
#define U 4u
#define A 0x20u
#define D 0x40u
#define PS 0x80u
#define G 0x100u
#define XD (UINT64_C(1) << 63)
#define FRAME UINT64_C(0x000ffffffffff000)

enum { READ = 0, WRITE = 1, FETCH = 2 };
enum { SUPERVISOR = 0, USER = 1 };
enum { OK, NOT_PRESENT, RESERVED, DENIED };
enum { DENIED_USER = 1, DENIED_WRITE = 2, DENIED_EXECUTE = 4 };
/* Raw rights beside W and U: no execution, shadow-stack page; the key stands above. */
enum { RIGHT_XD = 8, RIGHT_SHADOW_STACK = 0x10, KEY_SHIFT = 16 };

static void stop(const char *why) {
    fprintf(stderr, "mmu: %s\n", why);
    exit(1);
}

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL) stop("out of memory");
    return memory;
}

/* -- the CPU ------------------------------------------------------------------------------------------------------ */

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

/* What a walk found. */
struct result {
    int code;
    int level;
    uint64_t linear;
    uint64_t entry;
    uint64_t table;
    uint64_t above;
    uint32_t rights;
    uint32_t denied;
    bool dirty;
    uint64_t *path[6];
    uint64_t path_entry[6];
};

struct cpu {
    uint8_t *memory;
    uint64_t size;
    struct control control;
    int mode;
    struct result found;
};

static uint8_t judge(uint32_t rights, int kind, int mode) {
    uint8_t denied = 0;
    if (mode == USER && !(rights & U)) denied |= DENIED_USER;
    if ((kind & WRITE) && !(rights & W)) denied |= DENIED_WRITE;
    if ((kind & FETCH) && (rights & RIGHT_XD)) denied |= DENIED_EXECUTE;
    return denied;
}

static uint32_t judge_key(const struct control *control, uint32_t rights, int kind) {
    uint32_t bits = control->pkru >> (2 * ((rights >> KEY_SHIFT) & 15));
    return (kind & FETCH) || !(rights & U) ? 0 : ((bits & 1) || ((kind & WRITE) && (bits & 2))) ? 0x20 : 0;
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
    result->table = table;
    result->above = above;
    result->dirty = (entry & D) != 0;
    result->rights = (uint32_t)(above & entry & (W | U)) | (any & XD ? RIGHT_XD : 0) |
                     ((uint32_t)(above & ~entry & (entry >> 5) & W) << 3) |
                     ((uint32_t)(entry >> 59) & 15) << KEY_SHIFT;
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

static int walk(const struct cpu *cpu, uint64_t linear, int kind, int mode, struct result *result) {
    result->linear = linear;
    for (bool keep = false;; keep = true) {
        int code = descend(cpu, linear, keep, result);
        result->denied = 0;
        if (code == OK) {
            result->denied = denied_by(&cpu->control, result->rights, kind, mode);
            if (result->denied != 0) code = DENIED;
        }
        result->code = code;
        if (code != OK) return code;
        uint64_t missing = (~result->above & A) | (~result->entry & (kind & WRITE ? A | D : A));
        if (missing == 0 || (keep && update(cpu, kind, result))) return code;
    }
}

static uint64_t physical_of(const struct result *result) {
    uint64_t mask = offset_mask(result->level);
    return (result->entry & FRAME & ~mask) | (result->linear & mask);
}

/* -- TLBs --------------------------------------------------------------------------------------------------------- */

struct slot {
    uint64_t page;   /* linear page number, the leaf's level above it; */
    uint32_t tag;    /* of a PCID's generation, 0 = empty */
    uint32_t flags;  /* rights, D, G */
    uint64_t frame;
    uint64_t offset; /* mask of the offset */
};

static uint64_t page_key(uint64_t linear, int level) {
    return ((linear & ~offset_mask(level)) >> 12) | ((uint64_t)level << 52);
}

static void set_slot(struct slot *slot, const struct result *walk, uint32_t tag, bool global) {
    uint64_t mask = offset_mask(walk->level);
    *slot = (struct slot){page_key(walk->linear, walk->level), tag,
                          walk->rights | (walk->dirty ? D : 0) | (global ? G : 0), walk->entry & FRAME & ~mask, mask};
}

/* The hash table without a capacity (stale-tlb.ts); this one never grows, 64 pages fit. */
struct stale_tlb {
    struct slot *slots;
    uint32_t mask;
    uint32_t tags[4096];
};

static uint32_t hash(uint64_t page, uint32_t tag) {
    uint32_t low = (uint32_t)page, high = (uint32_t)(page >> 32);
    uint32_t mixed = (low ^ ((high ^ (tag << 4)) * 0x85ebca6bu)) * 0x9e3779b1u;
    return mixed ^ (mixed >> 15);
}

static struct slot *stale_find(const struct stale_tlb *tlb, uint64_t page, uint32_t tag) {
    for (uint32_t at = hash(page, tag) & tlb->mask;; at = (at + 1) & tlb->mask) {
        struct slot *slot = &tlb->slots[at];
        if (slot->tag == tag && slot->page == page) return slot;
        if (slot->tag == 0) return NULL;
    }
}

static void stale_fill(struct stale_tlb *tlb, const struct result *walk, uint32_t pcid) {
    uint32_t tag = tlb->tags[pcid], at = hash(page_key(walk->linear, walk->level), tag) & tlb->mask;
    while (tlb->slots[at].tag != 0) at = (at + 1) & tlb->mask;
    set_slot(&tlb->slots[at], walk, tag, false);
}

/* 2,048 entries with sets and ways (set-associative-tlb.ts), the one used longest ago makes room. */
enum { SETS = 256, WAYS = 8 };

struct set_tlb {
    struct slot slots[SETS][WAYS];
    uint64_t last_use[SETS][WAYS];
    uint64_t time;
};

static struct slot *set_find(struct set_tlb *tlb, uint64_t linear, uint32_t tag) {
    uint64_t page = page_key(linear, 1);
    uint32_t set = page % SETS;
    for (int way = 0; way < WAYS; way++) {
        struct slot *slot = &tlb->slots[set][way];
        if (slot->tag == tag && slot->page == page) {
            tlb->last_use[set][way] = ++tlb->time;
            return slot;
        }
    }
    return NULL;
}

static void set_fill(struct set_tlb *tlb, const struct result *walk, uint32_t tag, bool global) {
    uint64_t page = page_key(walk->linear, walk->level);
    uint32_t set = page % SETS;
    int chosen = 0;
    for (int way = 0; way < WAYS; way++) {
        struct slot *slot = &tlb->slots[set][way];
        if (slot->tag == 0 || (slot->tag == tag && slot->page == page)) {
            chosen = way;
            break;
        }
        if (tlb->last_use[set][way] < tlb->last_use[set][chosen]) chosen = way;
    }
    set_slot(&tlb->slots[set][chosen], walk, tag, global);
    tlb->last_use[set][chosen] = ++tlb->time;
}

/* -- the tables, as in user-pages.ts ------------------------------------------------------------------------------ */

#define MEMORY (UINT64_C(512) << 20)
#define ROOT UINT64_C(0x100000)
#define PDPT (ROOT + 0x1000)
#define PD (ROOT + 0x2000)
#define FIRST_PT (ROOT + 0x3000)
#define FIRST_PAGE UINT64_C(0x400000)
#define BASE UINT64_C(0x7f0000000000)

struct pages {
    struct cpu cpu;
    uint32_t count;
    uint64_t *order;
};

static void write64(struct cpu *cpu, uint64_t address, uint64_t value) {
    if (address < cpu->size) *(uint64_t *)(cpu->memory + address) = value;
}

static uint64_t read64(const struct cpu *cpu, uint64_t address) {
    return address < cpu->size ? *(uint64_t *)(cpu->memory + address) : ~UINT64_C(0);
}

static uint64_t offset_in(uint32_t page) {
    return (page * 72) & 0xff8;
}

static struct pages *user_pages(uint32_t count) {
    struct pages *pages = zeroed(1, sizeof *pages);
    struct cpu *cpu = &pages->cpu;
    pages->count = count;
    pages->order = zeroed(count, sizeof *pages->order);
    cpu->size = MEMORY;
    cpu->memory = zeroed(MEMORY, 1);
    cpu->mode = USER;
    /* MAXPHYADDR 46, NXE and PGE on, no keys. */
    cpu->control = (struct control){.levels = 4, .root = ROOT, .reserved = UINT64_C(0xfc00000000000),
                                    .reserved_top = PS, .reserved_2m = 0x1fe000, .reserved_1g = 0x3fffe000,
                                    .globals = true};
    for (int index = 0; index < 512; index++)
        cpu->control.permissions[index] = judge((index & 15) << 1, (index >> 4) & 7, index >> 7);
    write64(cpu, ROOT + 8 * 254, PDPT | P | W | U | A);
    write64(cpu, PDPT, PD | P | W | U | A);
    for (uint32_t table = 0; table * 512 < count; table++)
        write64(cpu, PD + 8 * table, (FIRST_PT + 4096 * table) | P | W | U | A);
    for (uint32_t page = 0; page < count; page++) {
        uint64_t frame = FIRST_PAGE + UINT64_C(4096) * page;
        write64(cpu, FIRST_PT + 8 * page, frame | P | W | U | A | XD);
        write64(cpu, frame + offset_in(page), page);
        pages->order[page] = BASE + UINT64_C(4096) * page + offset_in(page);
    }
    uint32_t state = 12345;
    for (uint32_t i = count - 1; i > 0; i--) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        uint32_t j = state % (i + 1);
        uint64_t held = pages->order[i];
        pages->order[i] = pages->order[j];
        pages->order[j] = held;
    }
    return pages;
}

/* -- the works ---------------------------------------------------------------------------------------------------- */

static void checked_walk(struct cpu *cpu, uint64_t linear, int kind) {
    if (!is_canonical(linear, cpu->control.levels)) stop("not canonical");
    if (walk(cpu, linear, kind, cpu->mode, &cpu->found) != OK) stop("a page fault");
}

static uint32_t work_walk(struct pages *pages, void *tlb) {
    struct cpu *cpu = &pages->cpu;
    uint32_t sum = 0;
    (void)tlb;
    for (uint32_t i = 0; i < pages->count; i++) {
        checked_walk(cpu, pages->order[i], READ);
        sum += (uint32_t)cpu->found.entry;
    }
    return sum;
}

static uint64_t stale_translate(struct cpu *cpu, struct stale_tlb *tlb, uint64_t linear, int kind) {
    uint32_t pcid = cpu->control.pcid;
    struct slot *slot = stale_find(tlb, page_key(linear, 1), tlb->tags[pcid]);
    if (slot == NULL) {
        checked_walk(cpu, linear, kind);
        stale_fill(tlb, &cpu->found, pcid);
        return physical_of(&cpu->found);
    }
    if ((kind & WRITE) && !(slot->flags & D)) stop("a clean entry");
    if (denied_by(&cpu->control, slot->flags, kind, cpu->mode) != 0) stop("denied");
    return slot->frame | (linear & slot->offset);
}

static uint32_t load(struct cpu *cpu, uint64_t physical) {
    uint64_t value = read64(cpu, physical);
    return (uint32_t)value + (uint32_t)(value >> 32);
}

enum { HIT_ROUNDS = 1024 };

static uint32_t work_hit(struct pages *pages, void *tlb) {
    uint32_t sum = 0;
    for (int round = 0; round < HIT_ROUNDS; round++)
        for (uint32_t i = 0; i < pages->count; i++)
            sum += load(&pages->cpu, stale_translate(&pages->cpu, tlb, pages->order[i], READ));
    return sum;
}

static uint64_t miss_translate(struct cpu *cpu, struct set_tlb *tlb, uint64_t linear, int kind) {
    uint32_t tag = cpu->control.pcid + 1;
    if (set_find(tlb, linear, tag) != NULL) stop("a TLB hit");
    checked_walk(cpu, linear, kind);
    set_fill(tlb, &cpu->found, tag, cpu->control.globals && (cpu->found.entry & G) != 0);
    return physical_of(&cpu->found);
}

static uint32_t work_miss(struct pages *pages, void *tlb) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < pages->count; i++)
        sum += load(&pages->cpu, miss_translate(&pages->cpu, tlb, pages->order[i], READ));
    return sum;
}

static uint32_t work_store(struct pages *pages, void *tlb) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < pages->count; i++) {
        uint64_t linear = pages->order[i];
        uint64_t physical = miss_translate(&pages->cpu, tlb, linear, WRITE);
        write64(&pages->cpu, physical, linear);
        sum += (uint32_t)physical;
    }
    return sum;
}

static void *new_stale_tlb(void) {
    struct stale_tlb *tlb = zeroed(1, sizeof *tlb);
    tlb->slots = zeroed(1024, sizeof *tlb->slots);
    tlb->mask = 1023;
    for (uint32_t pcid = 0; pcid < 4096; pcid++) tlb->tags[pcid] = pcid + 1;
    return tlb;
}

static void *new_set_tlb(void) {
    return zeroed(1, sizeof(struct set_tlb));
}

static struct work {
    const char *name;
    uint32_t (*run)(struct pages *, void *);
    uint32_t count;
    uint32_t rounds;
    void *(*new_tlb)(void);
    struct pages *pages;
    void *tlb;
} works[] = {
    {"walk", work_walk, 65536, 1, NULL, NULL, NULL},
    {"tlb-hit", work_hit, 64, HIT_ROUNDS, new_stale_tlb, NULL, NULL},
    {"tlb-miss", work_miss, 16384, 1, new_set_tlb, NULL, NULL},
    {"store", work_store, 16384, 1, new_set_tlb, NULL, NULL},
};

static struct work *work_named(const char *name) {
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        struct work *work = &works[i];
        if (strcmp(work->name, name) != 0) continue;
        if (work->pages == NULL) {
            work->pages = user_pages(work->count);
            if (work->new_tlb != NULL) work->tlb = work->new_tlb();
            work->run(work->pages, work->tlb);
        }
        return work;
    }
    stop("unknown name");
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One pass before the clock starts: the other program has just had the caches to itself. */
static double measure(struct work *work, uint32_t passes, uint32_t *checksum) {
    work->run(work->pages, work->tlb);
    double begin = seconds();
    for (uint32_t pass = 0; pass < passes; pass++) *checksum = work->run(work->pages, work->tlb);
    return 1e9 * (seconds() - begin) / ((double)work->count * work->rounds * passes);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    enum { SAMPLES = 51, PASSES = 8 };
    char name[32];
    uint32_t passes, checksum = 0;
    for (int i = 1; i < argc; i++) {
        struct work *work = work_named(argv[i]);
        double samples[SAMPLES];
        for (int n = 0; n < SAMPLES; n++) samples[n] = measure(work, PASSES, &checksum);
        qsort(samples, SAMPLES, sizeof *samples, ascending);
        printf("{\"name\":\"%s\",\"nsPerOp\":%.3f}\n", work->name, samples[SAMPLES / 2]);
    }
    if (argc > 1) return 0;
    while (scanf("%31s %u", name, &passes) == 2) {
        double ns = measure(work_named(name), passes, &checksum);
        printf("{\"name\":\"%s\",\"nsPerOp\":%.4f,\"checksum\":%u}\n", name, ns, checksum);
        fflush(stdout);
    }
    return 0;
}
