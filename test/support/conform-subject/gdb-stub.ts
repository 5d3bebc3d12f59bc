import { Walker } from "./walker.ts";

/**
 * Stands in for `qemu-system-x86_64 -gdb stdio`: the packets that docs/adapters/qemu-monitor.mjs sends, over the
 * walker's tables. Physical memory and registers are kept; gva2gpa is a supervisor read.
 */
const NAMES: Readonly<Record<string, string>> = { "1b": "cr0", "1d": "cr3", "1e": "cr4", "20": "efer" };
const memory = new Map<string, string>();
const registers = { cr0: "0x11", cr3: "0x0", cr4: "0x0", efer: "0x0", pkru: "0x0", pkrs: "0x0" };

function littleEndian(text: string): string {
  return `0x${Buffer.from(text, "hex").readBigUInt64LE().toString(16)}`;
}

function gva2gpa(la: string): string {
  const walker = new Walker();
  const step = { op: "access", kind: "read", la, size: 1, cpl: 0, ac: false, stack: false };
  const cpu = { vendor: "intel", maxphyaddr: 40, page1gb: true };
  const { results } = walker.answer({ id: "", cpu, registers, memory: [...memory], steps: [step] }) as {
    results: readonly { pa?: string }[];
  };
  const pa = results[0]?.pa;
  return pa === undefined ? "Unmapped\n" : `gpa: ${pa}\n`;
}

function replies(payload: string): string[] {
  const [, pa, word] = /^M([0-9a-f]+),8:(.*)$/.exec(payload) ?? [];
  const [, number = "", value] = /^P([0-9a-f]+)=(.*)$/.exec(payload) ?? [];
  const [, command] = /^qRcmd,(.*)$/.exec(payload) ?? [];
  if (payload.startsWith("qXfer:")) return ["l<target/>"];
  if (pa !== undefined && word !== undefined) memory.set(`0x${pa}`, littleEndian(word));
  if (value !== undefined) Object.assign(registers, { [NAMES[number] ?? ""]: littleEndian(value) });
  if (command === undefined) return ["OK"];
  const printed = gva2gpa(Buffer.from(command, "hex").toString("latin1").slice("gva2gpa ".length));
  return [`O${Buffer.from(printed, "latin1").toString("hex")}`, "OK"];
}

function packet(payload: string): string {
  const sum = Buffer.from(payload, "latin1").reduce((total, byte) => total + byte, 0) % 256;
  return `$${payload}#${sum.toString(16).padStart(2, "0")}`;
}

let text = "";
process.stdin.setEncoding("latin1").on("data", (part: string) => {
  text += part;
  for (let match = /\$([^#]*)#../.exec(text); match !== null; match = /\$([^#]*)#../.exec(text)) {
    text = text.slice(match.index + match[0].length);
    process.stdout.write(
      `+${replies(match[1] ?? "")
        .map(packet)
        .join("")}`,
    );
  }
});
