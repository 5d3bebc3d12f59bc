import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { loadGuest, readGuestDirectory } from "../../../src/formats/guest-snapshot.ts";
import { describeLinux, linuxPteFormat, readLinux } from "../../../src/inspect/linux-reading.ts";
import { addCounts, countEntries, emptyCounts } from "../../../src/inspect/process-counts.ts";
import { GUEST_DIRECTORIES } from "../../support/guests.ts";

function read(layout: string, value: bigint, level = 1): ReturnType<typeof readLinux> {
  return readLinux(linuxPteFormat(layout, null), level, Entry.fromBigInt(value));
}

const NO_FLAGS = { softDirty: false, uffdWp: false, exclusive: false };

describe("entries as Linux before 4.8 reads them", () => {
  test.each([
    { value: 0n, reading: { kind: "none" } },
    // The type's highest bit lies under A here, so that A alone is no empty entry.
    { value: 0x20n, reading: { kind: "swap", type: 16, offset: 0, ...NO_FLAGS } },
    { value: 0x200n, reading: { kind: "swap", type: 0, offset: 1, ...NO_FLAGS } },
    {
      value: 0xfd20b080n,
      reading: { kind: "swap", type: 0, offset: 0x7e9058, ...NO_FLAGS, softDirty: true },
    },
    { value: 0x246802n, reading: { kind: "swap", type: 1, offset: 0x1234, ...NO_FLAGS } },
    { value: 0x1579bc38n, reading: { kind: "swap", type: 28, offset: 0xabcde, ...NO_FLAGS } },
    { value: 0x0800000000000200n, reading: { kind: "swap", type: 0, offset: 2 ** 50 + 1, ...NO_FLAGS } },
    { value: 0x02468a3an, reading: { kind: "hwpoison", type: 29, pfn: 0x12345 } },
    {
      value: 0x02468a3cn,
      reading: { kind: "migration", type: 30, pfn: 0x12345, access: "read", ...NO_FLAGS },
    },
    {
      value: 0x02468a3en,
      reading: { kind: "migration", type: 31, pfn: 0x12345, access: "write", ...NO_FLAGS },
    },
    { value: 0x12345960n, reading: { kind: "prot-none", pfn: 0x12345 } },
  ])("$value", ({ value, reading }) => {
    expect(read("linux-4.7", value)).toMatchObject(reading);
  });
});

describe("entries as Linux 4.13 reads them", () => {
  test.each([
    { value: 0n, reading: { kind: "none" } },
    { value: 0x60n, reading: { kind: "none" } },
    {
      value: 0x8000000012345867n,
      reading: {
        kind: "present",
        pfn: 0x12345,
        flags: ["PRESENT", "RW", "USER", "ACCESSED", "DIRTY", "SOFT_DIRTY", "NX"],
      },
    },
    {
      value: 0x0000000012345960n,
      reading: { kind: "prot-none", pfn: 0x12345, flags: ["ACCESSED", "DIRTY", "PROTNONE", "SOFT_DIRTY"] },
    },
    { value: 0x4000n, reading: { kind: "swap", type: 0, offset: 1, ...NO_FLAGS } },
    { value: 0x048d0280n, reading: { kind: "swap", type: 1, offset: 0x1234, ...NO_FLAGS, softDirty: true } },
    { value: 0xfffffffffffff800n, reading: { kind: "swap", type: 28, offset: 2 ** 50 - 1, ...NO_FLAGS } },
    { value: 0x48d17a00n, reading: { kind: "hwpoison", type: 29, pfn: 0x12345 } },
    {
      value: 0x48d17c00n,
      reading: { kind: "migration", type: 30, pfn: 0x12345, access: "read", ...NO_FLAGS },
    },
    {
      value: 0x48d17e00n,
      reading: { kind: "migration", type: 31, pfn: 0x12345, access: "write", ...NO_FLAGS },
    },
  ])("$value is $reading.kind", ({ value, reading }) => {
    expect(read("linux-4.13", value)).toEqual(reading);
  });

  test("a huge pmd that pmd_mknotpresent left behind is still present to Linux", () => {
    expect(read("linux-4.13", 0x80000000400008e6n, 2)).toMatchObject({ kind: "invalidated", pfn: 0x40000 });
    expect(read("linux-4.13", 0x777067n, 2)).toMatchObject({ kind: "table", pfn: 0x777 });
    expect(read("linux-4.13", 0x777066n, 4)).toEqual({ kind: "bad" });
  });
});

describe("entries of later layouts", () => {
  test.each([
    {
      layout: "l1tf",
      value: 0x0fffffffffdb9602n,
      reading: { kind: "swap", type: 1, offset: 0x1234, softDirty: true },
    },
    { layout: "linux-6.1", value: 0x07fffffffffffc00n, reading: { kind: "swap", type: 0, offset: 1 } },
    { layout: "linux-6.1", value: 0x07fffffffffffc0cn, reading: { uffdWp: true, exclusive: true } },
    {
      layout: "linux-6.1",
      value: 0xf7fffffffffffc00n,
      reading: { kind: "marker", type: 30, marks: ["uffd-wp"] },
    },
    {
      layout: "linux-6.12",
      value: 0xfffffffffffff800n,
      reading: { kind: "marker", marks: ["uffd-wp", "poisoned"] },
    },
    { layout: "linux-6.1", value: 0xfffffffffffffc00n, reading: { kind: "swapin-error", type: 31 } },
    { layout: "linux-6.1", value: 0x000fffffedcba120n, reading: { kind: "prot-none", pfn: 0x12345 } },
    {
      layout: "linux-6.1",
      value: 0x12345425n,
      reading: { flags: ["PRESENT", "USER", "ACCESSED", "UFFD_WP"] },
    },
    {
      layout: "linux-6.12",
      value: 0x0400000012345025n,
      reading: { flags: ["PRESENT", "USER", "ACCESSED", "SAVED_DIRTY"] },
    },
  ])("$layout reads $value", ({ layout, value, reading }) => {
    const found = read(layout, value);
    expect(found).toMatchObject(reading);
    expect(describeLinux(found)).not.toMatch(/undefined|NaN/);
  });

  test("an unknown layout is refused with the list of known ones", () => {
    expect(() => linuxPteFormat("linux-2.4", null)).toThrow(
      /unknown kernel layout "linux-2.4": known are linux-4.7, linux-4.13,/,
    );
  });
});

describe("counts of a guest's processes", () => {
  test.each(["guest-a1", "guest-a2"] as const)(
    "%s: one scan of the tables finds what the capture counted",
    (name) => {
      const guest = readGuestDirectory(GUEST_DIRECTORIES[name]);
      const memory = loadGuest(guest);
      const pteFormat = linuxPteFormat(guest.layout, guest.swapTypes);
      const sum = emptyCounts();
      for (const { root } of guest.processes)
        addCounts(sum, countEntries(memory, root, guest.levels, pteFormat));
      const { totals } = JSON.parse(readFileSync(`test/data/${name}/counts.json`, "utf8")) as {
        totals: Record<string, number>;
      };
      expect(sum).toEqual({
        ...emptyCounts(),
        // The capture counted device pages apart.
        present4K: totals["present-4K"]! + totals["pfnmap-present"]!,
        present2M: totals["present-2M"],
        protNone4K: totals["prot-none-4K"],
        protNone2M: totals["prot-none-2M"],
        swap: totals["swap type 0"],
        hwpoison: totals["swap type 26"],
        marker: totals["swap type 30"],
      });
    },
  );
});
