import { describe, expect, test } from "vitest";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { PTE_P, PTE_PS, WIDEST_LAYOUT } from "../../../arch/x86/cpu/entry-layout.ts";
import { loadGuest } from "../../../src/formats/guest-snapshot.ts";
import { decodeEntry, type LinuxLevel } from "../../../src/inspect/decode-report.ts";
import { doubtsOf } from "../../../src/inspect/doubts.ts";
import { linuxPteFormat } from "../../../src/inspect/linux-reading.ts";
import { type GuestName, realGuest } from "../../support/guests.ts";

const NAMES: readonly LinuxLevel[] = ["pte", "pmd", "pud", "pgd"];

/** Every different entry of a real guest's tables, user and kernel, as "level value". */
function entriesOf(name: GuestName): Set<string> {
  const guest = realGuest(name);
  const memory = loadGuest(guest);
  const found = new Set<string>();
  const seen = new Set<string>();
  const visit = (table: number, level: number): void => {
    const key = `${level} ${table}`;
    const words = seen.has(key) ? null : memory.tableAt(table);
    seen.add(key);
    if (words === null) return;
    for (let i = 0; i < words.length; i += 2) {
      const entry = new Entry(words[i]!, words[i + 1]!);
      found.add(`${level} ${entry}`);
      const isTable = level > 1 && (entry.lo & PTE_P) !== 0 && (entry.lo & PTE_PS) === 0;
      if (isTable) visit(Number(entry.toBigInt() & 0xf_ffff_ffff_f000n), level - 1);
    }
  };
  for (const { root } of guest.processes) visit(root, guest.levels);
  return found;
}

describe.each(["guest-a1", "guest-a2"] as const)("%s", (name) => {
  test("no entry of a healthy machine is doubted", () => {
    const guest = realGuest(name);
    const formats = [linuxPteFormat(guest.layout, guest.swapTypes)];
    const doubted: string[] = [];
    const entries = entriesOf(name);
    expect(entries.size).toBeGreaterThan(10_000);
    for (const text of entries) {
      const [level = "", value = ""] = text.split(" ");
      const entry = Entry.fromBigInt(BigInt(value));
      const decoded = decodeEntry(entry, NAMES[Number(level) - 1]!, 4, WIDEST_LAYOUT, formats);
      for (const { id, text: says } of doubtsOf(decoded, 52)) {
        // Kernel pages whose P was cleared look like swap entries; which they are is said.
        if (!says.includes("likelier: a page that the kernel unmapped for itself")) {
          doubted.push(`${id} ${text}: ${says}`);
        }
      }
    }
    expect(doubted).toEqual([]);
  });
});
