import type { Slot } from "../../../arch/x86/cpu/address.ts";
import type { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import type { World } from "../../../src/trace/world.ts";

/** All that a judge may see of a CPU's registers. */
export function registersText(control: ControlRegisters): string {
  const { cr0, cr4, efer, root, pcid, pkru, pkrs, levels, globals, layout, pat, reservedHi } = control;
  return JSON.stringify([cr0, cr4, efer, root, pcid, pkru, pkrs, levels, globals, layout, pat, reservedHi]);
}

/** The entries of every table under some roots, each table once, by a walk of its own. */
export function tablesText(world: World, roots: readonly number[], levels: number): string {
  const seen = new Set<string>();
  const lines: string[] = [];
  const walk = (table: number, level: number): void => {
    const name = `${table.toString(16)}/${level}`;
    if (seen.has(name)) return;
    seen.add(name);
    const found: string[] = [];
    for (let index = 0; index < 512; index++) {
      const { lo, hi } = world.entry((table * 4096 + index * 8) as Slot);
      if ((lo | hi) === 0) continue;
      found.push(`${index}:${lo},${hi}`);
      if (level > 1 && (lo & 1) !== 0 && (lo & 0x80) === 0)
        walk((lo >>> 12) + (hi & 0xff) * 2 ** 20, level - 1);
    }
    lines.push(`${name} ${found.join(" ")}`);
  };
  for (const root of roots) walk(root / 4096, levels);
  return lines.join("\n");
}
