import { PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { BARE_AT, BareStage } from "./bare-stage.ts";
import type { HistoryPair } from "./history.ts";

/** Rules G1 to G3, on a machine that no known system runs on. */
export const GENERIC_HISTORIES: readonly HistoryPair[] = [
  {
    rule: "G1",
    breaks: "An entry is cleared and its frame given away, without an INVLPG between.",
    keeps: "An entry is cleared, INVLPG drops what is cached of it, and the frame is given away.",
    play(keeps, begin) {
      const s = new BareStage();
      begin(s.machine);
      s.cpu.touch(BARE_AT, true);
      s.unmap(1);
      if (keeps) s.cpu.invlpg(BARE_AT);
      s.freed("page-freed", s.page);
      s.cpu.touch(BARE_AT, false);
      return s.page;
    },
  },
  {
    rule: "G2",
    breaks:
      "The entry that leads to a page table is cleared and the table's frame given away, without a flush.",
    keeps: "INVLPG drops the cached entry that leads to the table before its frame is given away.",
    tells: ["access", "fault"],
    play(keeps, begin) {
      const s = new BareStage();
      const table = s.table(1);
      begin(s.machine);
      s.cpu.touch(BARE_AT, true);
      s.unmap(2);
      if (keeps) s.cpu.invlpg(BARE_AT);
      s.freed("table-freed", table);
      // The frame's next owner writes what looks like an entry.
      s.storeIn(table, 1, s.page);
      s.cpu.touch(BARE_AT + PAGE_SIZE, false);
      return table;
    },
  },
  {
    rule: "G3",
    breaks: "A root is loaded under the PCID of another one with bit 63 set: what was cached stays in use.",
    keeps: "The same load with bit 63 clear, which drops what the PCID had cached.",
    play(keeps, begin) {
      const s = new BareStage();
      const other = s.newRoot();
      begin(s.machine);
      s.cpu.touch(BARE_AT, true);
      s.cpu.loadCr3(other, 1, !keeps);
      s.cpu.touch(BARE_AT, false);
      return null;
    },
  },
];
