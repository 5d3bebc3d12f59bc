/**
 * Asks the page-table walker of QEMU's monitor, `gva2gpa`, the cases of ptescope's conformance pack:
 *
 *   ptescope conform --groups tricky,fact --against "node docs/adapters/qemu-monitor.mjs"
 *
 * No guest runs. QEMU starts stopped; tables and control registers are put in place through its GDB stub, and the
 * monitor's command goes through the stub as well. The walker says where an address leads or that it leads nowhere: it
 * knows no kinds of access, no error code, and sets neither A nor D. So it is asked supervisor reads alone.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const QEMU = "qemu-system-x86_64";
const PHYS_BITS = 40;
const QEMU_OPTIONS = `-S -display none -nodefaults -m 64 -cpu max,phys-bits=${PHYS_BITS} -gdb stdio`.split(
  " ",
);
/** Numbers in QEMU's description of the x86-64 registers. */
const REGISTERS = { cr0: 27, cr3: 29, cr4: 30, efer: 32 };
const CR0_WITHOUT_PAGING = 0x11n;
const EFER_LMA = 0x400n;
const KEEP = 1n << 63n;
/** CR4.SMAP, PKE, PKS: with them a supervisor read may be denied, which the walker does not look at. */
const CR4_DENYING = (1n << 21n) | (1n << 22n) | (1n << 24n);

/** The GDB remote serial protocol, as far as it is needed: $payload#checksum, and + for "received". */
class GdbStub {
  #child;
  #text = "";
  #replies = [];
  #wake = () => {};

  /** Resolves to a stub, or to the reason why there is none. */
  static start() {
    return new Promise((resolve) => {
      const child = spawn(QEMU, QEMU_OPTIONS, { stdio: ["pipe", "pipe", "inherit"] });
      child.on("error", ({ code }) => {
        resolve(code === "ENOENT" ? `${QEMU} is not installed` : `${QEMU} cannot be started (${code})`);
      });
      child.on("exit", () => process.exit(1));
      child.on("spawn", () => resolve(new GdbStub(child)));
    });
  }

  constructor(child) {
    this.#child = child;
    child.stdout.setEncoding("latin1").on("data", (text) => {
      this.#text += text;
      for (let match = this.#next(); match !== null; match = this.#next()) {
        this.#text = this.#text.slice(match.index + match[0].length);
        this.#replies.push(match[1]);
        child.stdin.write("+");
      }
      this.#wake();
    });
  }

  #next() {
    return /\$([^#]*)#[0-9a-f]{2}/i.exec(this.#text);
  }

  async send(payload) {
    const sum = [...payload].reduce((total, letter) => total + letter.charCodeAt(0), 0) % 256;
    this.#child.stdin.write(`$${payload}#${sum.toString(16).padStart(2, "0")}`);
    return await this.#reply();
  }

  async #reply() {
    while (this.#replies.length === 0) {
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#replies.shift();
  }

  async expectOk(payload) {
    const reply = await this.send(payload);
    if (reply !== "OK") throw new Error(`${QEMU} answered ${payload} with "${reply}"`);
  }

  /** A word of physical memory, or a register: eight bytes, the lowest first. */
  async writeWord(pa, value) {
    await this.expectOk(`M${BigInt(pa).toString(16)},8:${littleEndian(value)}`);
  }

  async writeRegister(name, value) {
    await this.expectOk(`P${REGISTERS[name].toString(16)}=${littleEndian(value)}`);
  }

  /** What a command of the monitor prints. */
  async monitor(command) {
    let printed = "";
    let reply = await this.send(`qRcmd,${Buffer.from(command, "latin1").toString("hex")}`);
    while (reply.startsWith("O") && reply !== "OK") {
      printed += Buffer.from(reply.slice(1), "hex").toString("latin1");
      reply = await this.#reply();
    }
    return printed;
  }

  stop() {
    this.#child.removeAllListeners("exit");
    this.#child.kill();
  }
}

function littleEndian(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.toString("hex");
}

/** Whether the walker's word on this access is comparable. */
function canSay({ kind, la, size, cpl }, { cr4 }) {
  const address = BigInt(la);
  const width = (cr4 & (1n << 12n)) === 0n ? 48 : 57;
  const canonical = BigInt.asUintN(64, BigInt.asIntN(width, address)) === address;
  const inOnePage = (address & 0xfffn) + BigInt(size) <= 0x1000n;
  return kind === "read" && cpl !== 3 && canonical && inOnePage && (cr4 & CR4_DENYING) === 0n;
}

async function runStep(stub, step, registers) {
  switch (step.op) {
    case "write_entry":
      await stub.writeWord(step.pa, step.value);
      return {};
    case "mov_cr3":
      await stub.writeRegister("cr3", BigInt(step.value) & ~KEEP);
      return {};
    case "invlpg":
      return {};
    case "access": {
      if (!canSay(step, registers)) return null;
      const found = /gpa: (0x[0-9a-f]+)/i.exec(await stub.monitor(`gva2gpa ${step.la}`));
      return found === null ? { fault: { vector: 14 } } : { pa: found[1] };
    }
    default:
      return null;
  }
}

async function answer(stub, { id, cpu, registers, memory, steps }) {
  if (cpu.vendor !== "intel" || cpu.maxphyaddr !== PHYS_BITS || !cpu.page1gb)
    return { id, unsupported: "this CPU" };
  const values = Object.fromEntries(Object.entries(registers).map(([name, value]) => [name, BigInt(value)]));
  if (!steps.some((step) => step.op === "access" && canSay(step, values))) {
    return { id, unsupported: "anything but supervisor reads" };
  }
  for (const [pa, value] of memory) await stub.writeWord(pa, value);
  // Out of long mode and in again: only so may every bit of CR4 change.
  await stub.writeRegister("cr0", CR0_WITHOUT_PAGING);
  await stub.writeRegister("efer", values.efer & ~EFER_LMA);
  for (const name of ["cr4", "cr3", "cr0"]) await stub.writeRegister(name, values[name]);
  const results = [];
  for (const step of steps) results.push(await runStep(stub, step, values));
  for (const [pa] of memory) await stub.writeWord(pa, 0n);
  return { id, results };
}

const stub = await GdbStub.start();
const greeting = { format: "ptescope-conform", version: 1, name: "QEMU monitor, gva2gpa" };
if (typeof stub === "string") {
  console.log(JSON.stringify({ ...greeting, skip: stub }));
} else {
  let greeted = false;
  for await (const line of createInterface({ input: process.stdin })) {
    if (greeted) {
      console.log(JSON.stringify(await answer(stub, JSON.parse(line))));
      continue;
    }
    // QEMU has the control registers at hand once its description of them was read.
    await stub.send("qXfer:features:read:target.xml:0,ffb");
    await stub.expectOk("Qqemu.PhyMemMode:1");
    console.log(JSON.stringify(greeting));
    greeted = true;
  }
  stub.stop();
}
