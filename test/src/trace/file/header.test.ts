import { describe, expect, test } from "vitest";
import { CPU_MODELS, type CpuModel, cpuModel } from "../../../../arch/x86/cpu/cpu-model.ts";
import { PTE_LAYOUTS, PteFormat } from "../../../../arch/x86/mm/pte-format.ts";
import { headerFrom, headerText } from "../../../../src/trace/file/header.ts";
import { errorOf, headed, LINES } from "../bad-files.ts";
import { HEADER, linesFile } from "../files.ts";

describe("a file that is no recording", () => {
  test.each<[string, Uint8Array, string]>([
    ["empty", new Uint8Array(0), "a recording, found an empty file"],
    ["of another kind", linesFile(["hello"]), "a recording: its first bytes are those of none"],
    [
      "with the first byte of one",
      Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 1, 2, 3, 4, 5),
      "the first bytes of a recording",
    ],
    [
      "that ends in its first bytes",
      Uint8Array.of(0x89, 0x50, 0x54),
      "the end of a record, found the file's",
    ],
    ["another JSON", linesFile(["{}"]), "format to be one of ptescope-records, found nothing"],
    ["not JSON at all", linesFile(["{"]), 'the header to be JSON, found "{"'],
    ["of another version", headed({ version: 2 }), "version to be 1, found 2"],
    [
      "without its opening's end",
      linesFile(LINES.slice(0, 1)),
      "the end of the opening, found that of the file",
    ],
    [
      "over before it began",
      linesFile([LINES[0]!, LINES[3]!]),
      "the opening to be over before the recording is",
    ],
    [
      "that goes on after its end",
      linesFile([...LINES, LINES[2]!]),
      "nothing after the end of the recording",
    ],
    [
      "with two openings",
      linesFile([...LINES.slice(0, 2), ...LINES.slice(1)]),
      "the opening to be over once",
    ],
  ])("%s", (_name, file, expected) => {
    expect(errorOf(file)).toContain(`expected ${expected}`);
  });
});

describe("a header", () => {
  test.each<[string, object, string]>([
    ["of an unknown model", { model: "vax" }, "model to be one of intel-skylake-client"],
    [
      "of an impossible model",
      { model: { ...HEADER.model, maxPhyAddr: 20 } },
      "a CPU that can be: MAXPHYADDR 20",
    ],
    [
      "of a model with a part missing",
      { model: { name: "x" } },
      "model.vendor to be one of intel, amd, found nothing",
    ],
    ["of an unknown layout", { entries: { layout: "bsd", swapTypes: {} } }, "entries.swapTypes.swapfiles"],
    ["of six levels", { levels: 6 }, "levels to be one of 4, 5, found 6"],
    ["of five levels without LA57", { levels: 5 }, "a model with LA57, for five levels"],
    ["of half a page of memory", { memory: 6000 }, "memory to be a multiple of 4096, found 6000"],
    ["of no CPU", { cpus: 0 }, "cpus to be a whole number from 1 to 4096, found 0"],
    ["without kinds", { kinds: [] }, "kinds to be an array of 1 to 1024 elements, found 0"],
    [
      "with a kind twice",
      {
        kinds: [
          { kind: "a", class: "fact", has: [] },
          { kind: "a", class: "fact", has: [] },
        ],
      },
      "kind a once",
    ],
    [
      "with a kind of a field that it lacks",
      { kinds: [{ kind: "a", class: "fact", has: ["b"] }] },
      'fields of kind a to be among those that the header has, found "b"',
    ],
    [
      "with a kind that lacks its field",
      { kinds: [{ kind: "entry-written", class: "hardware", has: ["slot", "old"] }] },
      "kind entry-written to have the field entry",
    ],
    [
      "with another encoding of a field",
      { fields: { ...JSON.parse(LINES[0]!).fields, pfn: "linear" } },
      'encoding of field pfn to be pfn, found "linear"',
    ],
    [
      "with a text where there was a list",
      { fields: { ...JSON.parse(LINES[0]!).fields, cause: "text" } },
      'encoding of field cause to be a list of texts, found "text"',
    ],
    [
      "with __proto__ for a field",
      { fields: JSON.parse('{"__proto__":"int"}') },
      'fields to be named by letters, digits and hyphens, found "__proto__"',
    ],
  ])("%s", (_name, change, expected) => {
    expect(errorOf(headed(change))).toContain(`expected ${expected}`);
  });
});

describe("headers", () => {
  test.each(Object.keys(CPU_MODELS))("preset %s goes by name, and as itself when it is another's", (name) => {
    const levels = cpuModel(name).la57 ? 5 : 4;
    const text = headerText({ ...HEADER, model: cpuModel(name), levels });
    expect(JSON.parse(text).model).toBe(name);
    expect(headerFrom(text).model).toBe(cpuModel(name));
    const own: CpuModel = { ...cpuModel(name), maxPhyAddr: 44, strayAD: true };
    const whole = headerText({ ...HEADER, model: own, levels });
    expect(JSON.parse(whole).model.maxPhyAddr).toBe(44);
    expect(headerFrom(whole)).toStrictEqual({ ...HEADER, model: own, levels });
  });

  test.each(Object.keys(PTE_LAYOUTS))("entry layout %s does the same, with its swap types", (name) => {
    const layout = PTE_LAYOUTS[name]!;
    const format = new PteFormat(layout, { ...layout.swapTypes, marker: 27 });
    const read = headerFrom(headerText({ ...HEADER, format })).format!;
    expect(read.layout).toBe(layout);
    expect(read.types).toEqual(format.types);
    const own = new PteFormat({ ...layout, name: "own", savedDirtyBit: 57 });
    expect(headerFrom(headerText({ ...HEADER, format: own })).format!.layout).toEqual(own.layout);
  });
});
