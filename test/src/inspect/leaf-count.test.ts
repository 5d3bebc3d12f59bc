import { expect, test } from "vitest";
import { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { countLeaves } from "../../../src/inspect/leaf-count.ts";
import { LeafCursor } from "../../../src/inspect/leaves.ts";
import { randomNumbers, TableBuilder } from "./table-builder.ts";

test("a table that points at itself 512 times at every level: 2^36 leaves, counted at once", () => {
  const builder = new TableBuilder(4);
  for (let index = 0; index < 512; index++) builder.table(1, index, 1);
  expect(countLeaves(builder.memory, 0x1000, 4)).toBe(2 ** 36);
});

test("it counts what a step through every leaf meets, missing tables and reserved bits included", () => {
  const reserved = new ControlRegisters({ ...cpuModel("intel-sapphire-rapids"), maxPhyAddr: 46 });
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomNumbers(seed);
    const builder = new TableBuilder(8);
    for (let word = 0; word < 60; word++) {
      const flags = [0x67n, 0x67n, 0xe7n, 0x02n, (1n << 50n) | 0x67n][random(5)]!;
      builder.table(1 + random(7), random(4) * 128 + random(3), random(10), flags);
    }
    const options = seed % 2 === 0 ? { reserved } : { marked: 1 << 18 };
    const cursor = new LeafCursor(builder.memory, 0x1000, 4, options);
    let given = 0;
    while (cursor.next()) given++;
    const met = given + cursor.lostCount;
    expect({ seed, count: countLeaves(builder.memory, 0x1000, 4, options) }).toEqual({ seed, count: met });
  }
});
