import { describe, expect, test } from "vitest";
import { explainJson, rulesJson } from "../../../../src/audit/histories/explain-json.ts";
import { explainText, rulesText } from "../../../../src/audit/histories/explain-text.ts";
import { type ExplainedHistory, explainRule } from "../../../../src/audit/histories/explained-rule.ts";
import { RULES } from "../../../../src/audit/rules/index.ts";

const RULE_1 = `\
rule 1: no CPU can still translate to a freed page
  source   mm/vmscan.c shrink_page_list: try_to_unmap_flush before the pages are
           freed
  judged   page freed
  records  page-freed

Broken: An entry is cleared and its page freed, and no CPU is told.
  A CPU 0, B CPU 1
    event  A  B
        2  .  w   CPU 1 writes 0x7f0000200000
        4  .  w!  CPU 0: entry PWAD -> none
                  <-- owed here: flush_tlb_page of [0x7f0000200000, +4 KiB)
                      after kernel changed its entry
        7  .  w!  the frame is freed
                  => rule 1 broken: no CPU can still translate to a freed page
                     (CPU 1)
-       8  .  w!  CPU 1 reads 0x7f0000200000 through its TLB: of a freed frame

Kept: An entry is cleared, the CPU that may have cached it flushes, and the page
  is freed.
  A CPU 0, B CPU 1
    event  A  B
        2  .  w   CPU 1 writes 0x7f0000200000
        4  .  w!  CPU 0: entry PWAD -> none
+       6  .  w!  flush of [0x7f0000200000, +4 KiB) on CPU 1
+       9  .  .   CPU 1 drops 0x7f0000200000 (INVLPG)
       14  .  .   the frame is freed

  Columns: who may hold a translation then, r to read, w to write, ! stale.
  - and + are lines that only one of the two has.
`;

const RULE_G3 = `\
rule G3: no PCID goes to another address space while a CPU keeps its old
  translations
  source   SDM vol. 3, 4.10.1 Process-Context Identifiers; 4.10.4.1 Operations
           that Invalidate
  judged   root loaded, translations kept
  records  cr3-loaded

Broken: A root is loaded under the PCID of another one with bit 63 set: what was
  cached stays in use.
    event
        1   CPU 0 caches that 0x400000 is frame 0x101
        2   CPU 0 writes 0x400000
-       3   CPU 0 loads the root 0x105000, PCID 1, and keeps what the PCID has
            cached
            <-- owed here: a load without bit 63 of the root at 0x105000, or
                INVPCID type 1
            => rule G3 broken: no PCID goes to another address space while a CPU
               keeps its old translations (CPU 0)
-       4   CPU 0 reads 0x400000 through its TLB

Kept: The same load with bit 63 clear, which drops what the PCID had cached.
    event
        1   CPU 0 caches that 0x400000 is frame 0x101
        2   CPU 0 writes 0x400000
+       3   CPU 0 loads the root 0x105000, PCID 1
+       4   CPU 0 drops all that it may (MOV CR3)
+       5   CPU 0 faults at 0x400000 (#PF)
+       6   CPU 0 drops 0x400000 (#PF)

  - and + are lines that only one of the two has.
`;

describe("a rule for a person", () => {
  test("about a frame: lanes, what was owed and where", () => {
    expect(explainText(explainRule(1))).toBe(RULE_1);
  });

  test("about no frame: all that happened", () => {
    expect(explainText(explainRule("g3"))).toBe(RULE_G3);
  });

  test.each(RULES)("rule $id fits 80 columns, and says where something was owed", ({ id }) => {
    const text = explainText(explainRule(id));
    expect(text.split("\n").filter((line) => line.length > 80)).toEqual([]);
    const [, broken = "", kept = ""] = /\nBroken: (.*)\nKept: (.*)/s.exec(text) ?? [];
    expect(broken).toContain(`=> rule ${id} broken: `);
    expect(broken).toContain("<-- owed here: ");
    expect(kept).not.toMatch(/owed here|broken/);
  });

  test("the list has a line of at most 80 columns for each", () => {
    const lines = rulesText().trimEnd().split("\n");
    expect(lines.map((line) => line.split(/ +/)[0])).toEqual(RULES.map(({ id }) => `${id}`));
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  });
});

describe("the stories of a rule's histories", () => {
  test.each(RULES)("rule $id: are whole, short, and differ", ({ id }) => {
    const { breaks, keeps } = explainRule(id);
    for (const { story } of [breaks, keeps]) {
      expect(story.left).toBe(0);
      expect(story.lines.length).toBeLessThan(25);
    }
    expect(breaks.own.size + keeps.own.size).toBeGreaterThan(0);
    const shared = ({ story, own }: ExplainedHistory) =>
      story.lines.filter((line) => !own.has(line)).map(({ text }) => text);
    expect(shared(breaks)).toEqual(shared(keeps));
  });

  test("a rule that the breaking history cannot but break, too, is named with the reason", () => {
    expect(explainText(explainRule(16))).toContain(
      "  Rule 15, too: range_end has the same bounds, and by then an entry outside was\n  changed.\n",
    );
  });
});

describe("a rule as data", () => {
  test("is plain: JSON takes nothing away", () => {
    for (const { id } of RULES) {
      const data = explainJson(explainRule(id));
      expect(JSON.parse(JSON.stringify(data))).toEqual(data);
    }
  });

  test("says what the text says", () => {
    const { breaks, keeps, also } = explainRule(35);
    expect(explainJson({ ...explainRule(35) })).toMatchObject({
      rule: 35,
      source: "mm/page-writeback.c clear_page_dirty_for_io: order of dirty bits",
      judged: "page freed, run ended",
      records: ["page-freed"],
      atEnd: true,
      breaks: { what: breaks.history.what, also, findings: [{ rule: 35 }], own: [] },
      keeps: { what: keeps.history.what, findings: [], own: [10] },
    });
    const { story } = (
      explainJson(explainRule(35)) as { breaks: { story: { pfn: string; lines: object[] } } }
    ).breaks;
    expect(story.pfn).toMatch(/^0x/);
    expect(story.lines.at(-1)).toMatchObject({ event: null, text: "the run ends" });
  });

  test("of no frame has none", () => {
    expect(explainJson(explainRule("G3"))).toMatchObject({ breaks: { story: { pfn: null, lanes: [] } } });
  });

  test("the list has no histories", () => {
    const list = rulesJson() as readonly object[];
    expect(list).toHaveLength(RULES.length);
    expect(list[0]).toEqual({
      rule: 1,
      title: "no CPU can still translate to a freed page",
      source: "mm/vmscan.c shrink_page_list: try_to_unmap_flush before the pages are freed",
      judged: "page freed",
      records: ["page-freed"],
      atEnd: false,
    });
  });
});
