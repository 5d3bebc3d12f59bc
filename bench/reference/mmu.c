/*
 * The reference: the same page tables, in the same order, with the same checks as the benchmarks of the same names, in
 * C. The tables are those of user-pages.ts; the walk, the rights and the TLBs work as in arch/x86/cpu.
 *
 *   mmu   reads lines "NAME PASSES" and answers each after that many passes, with a checksum of one pass; nanoseconds
 *         of CPU time
 */
#include <time.h>

#include "tlb.h"

/* -- the tables, as in user-pages.ts ------------------------------------------------------------------------------ */

#define MEMORY (UINT64_C(512) << 20)
#define ROOT UINT64_C(0x100000)
#define PDPT (ROOT + 0x1000)
#define PD (ROOT + 0x2000)
#define FIRST_PT (ROOT + 0x3000)
#define FIRST_PAGE UINT64_C(0x400000)
#define BASE UINT64_C(0x7f0000000000)
#define FRAMES 64

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
        uint64_t frame = FIRST_PAGE + UINT64_C(4096) * (page % FRAMES);
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

enum { HIT_ROUNDS = 1024 };

static uint32_t load(struct cpu *cpu, uint64_t physical) {
    uint64_t value = read64(cpu, physical);
    return (uint32_t)value + (uint32_t)(value >> 32);
}

static uint32_t store(struct cpu *cpu, uint64_t physical, uint64_t value) {
    write64(cpu, physical, value);
    return (uint32_t)physical;
}

static uint32_t work_walk(struct pages *pages, void *tlb) {
    struct cpu *cpu = &pages->cpu;
    uint32_t sum = 0;
    (void)tlb;
    for (uint32_t i = 0; i < pages->count; i++) {
        struct answer found = walk(cpu, pages->order[i], READ, cpu->mode);
        if (found.code != OK) stop("a fault");
        sum += (uint32_t)found.entry;
    }
    return sum;
}

static uint32_t work_hit(struct pages *pages, void *tlb) {
    uint32_t sum = 0;
    for (int round = 0; round < HIT_ROUNDS; round++)
        for (uint32_t i = 0; i < pages->count; i++)
            sum += load(&pages->cpu, stale_translate(&pages->cpu, tlb, pages->order[i], READ));
    return sum;
}

static uint32_t work_hit_store(struct pages *pages, void *tlb) {
    uint32_t sum = 0;
    for (int round = 0; round < HIT_ROUNDS; round++) {
        for (uint32_t i = 0; i < pages->count; i++) {
            uint64_t linear = pages->order[i];
            sum += store(&pages->cpu, stale_translate(&pages->cpu, tlb, linear, WRITE), linear);
        }
    }
    return sum;
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
        sum += store(&pages->cpu, miss_translate(&pages->cpu, tlb, linear, WRITE), linear);
    }
    return sum;
}

static void *new_stale_tlb(void) {
    struct stale_tlb *tlb = zeroed(1, sizeof *tlb);
    tlb->generation = 1;
    return tlb;
}

static void *new_set_tlb(void) {
    return zeroed(1, sizeof(struct set_tlb));
}

static void *no_tlb(void) {
    return NULL;
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
    {"walk", work_walk, 65536, 1, no_tlb, NULL, NULL},
    {"tlb-hit", work_hit, 64, HIT_ROUNDS, new_stale_tlb, NULL, NULL},
    {"hit-store", work_hit_store, 64, HIT_ROUNDS, new_stale_tlb, NULL, NULL},
    {"tlb-miss", work_miss, 16384, 1, new_set_tlb, NULL, NULL},
    {"store", work_store, 16384, 1, new_set_tlb, NULL, NULL},
};

static struct work *work_named(const char *name) {
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        struct work *work = &works[i];
        if (strcmp(work->name, name) != 0) continue;
        if (work->pages == NULL) {
            work->pages = user_pages(work->count);
            work->tlb = work->new_tlb();
            work->run(work->pages, work->tlb);
        }
        return work;
    }
    stop("unknown name");
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One pass before the clock starts: the other program has just had the caches to itself. */
static double measure(struct work *work, uint32_t passes, uint32_t *checksum) {
    work->run(work->pages, work->tlb);
    double begin = seconds();
    for (uint32_t pass = 0; pass < passes; pass++) *checksum = work->run(work->pages, work->tlb);
    return 1e9 * (seconds() - begin) / ((double)work->count * work->rounds * passes);
}

int main(void) {
    char name[32];
    uint32_t passes, checksum = 0;
    while (scanf("%31s %u", name, &passes) == 2) {
        double ns = measure(work_named(name), passes, &checksum);
        printf("{\"nsPerOp\":%.4f,\"checksum\":%u}\n", ns, checksum);
        fflush(stdout);
    }
    return 0;
}
