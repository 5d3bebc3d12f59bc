import { type Linear, NONE, PAGE_SIZE, type Pfn } from "../../../arch/x86/cpu/address.ts";
import { type KernelThread, NEXT_STEP, stops } from "../../../arch/x86/mm/step.ts";
import type { Kernel, mm_struct } from "../../mm/mm_types.ts";
import type { Dice, Draws } from "../../sim/draws.ts";
import type { Iommu } from "../../virt/iommu.ts";
import type { Kvm } from "../../virt/kvm.ts";

/** One place in one address space that the actors may touch. */
export interface Target {
  readonly page: Pfn;
  readonly mm: mm_struct;
  readonly address: Linear;
  /** Bytes that the entry mapped when the batch began: a large mapping is touched anywhere inside. */
  readonly length: number;
  readonly writable: boolean;
}

/** The secondary MMUs of one address space. */
export interface Listeners {
  readonly kvms: readonly Kvm[];
  readonly iommus: readonly Iommu[];
}

/** What the actors did and what came of it. */
export interface Traffic {
  accesses: number;
  faults: number;
  guestAccesses: number;
  deviceAccesses: number;
}

/** Writes once in three times where the mapping allows it. */
const WRITE_ONE_IN = 3;

/** Everything that uses memory while the kernel works on it: user programs, guests, devices. */
export class Actors {
  readonly traffic: Traffic = { accesses: 0, faults: 0, guestAccesses: 0, deviceAccesses: 0 };
  /** What may be touched now; the job replaces it with each batch. */
  targets: readonly Target[] = [];
  readonly #kernel: Kernel;
  /** What each agent draws from: a user program by its CPU, all guests, all devices. */
  readonly #users: readonly Dice[];
  readonly #guestDice: Dice;
  readonly #deviceDice: Dice;
  readonly #listeners: ReadonlyMap<mm_struct, Listeners>;

  /** The agents of the draws are numbered from `firstAgent` on. */
  constructor(
    kernel: Kernel,
    draws: Draws,
    firstAgent: number,
    listeners: ReadonlyMap<mm_struct, Listeners>,
  ) {
    this.#kernel = kernel;
    this.#guestDice = draws.dice(firstAgent);
    this.#deviceDice = draws.dice(firstAgent + 1);
    this.#users = kernel.machine.cpus.map(({ id }) => draws.dice(firstAgent + 2 + id));
    this.#listeners = listeners;
  }

  /** A user program on one CPU: touches what the loaded mm maps, for ever. */
  *user(cpu: number): KernelThread<void> {
    for (;;) {
      if (stops(this.#kernel, "access", NONE)) yield NEXT_STEP;
      const target = this.#pick(this.#users[cpu]!);
      if (target?.mm === this.#kernel.cpu_tlbstate[cpu]!.loaded_mm) this.touch(cpu, target);
    }
  }

  /** Guests that run for ever, each behind one mm's KVM listeners. */
  *guests(): KernelThread<void> {
    for (;;) {
      if (stops(this.#kernel, "access", NONE)) yield NEXT_STEP;
      const target = this.#pick(this.#guestDice);
      if (target !== undefined) yield* this.guestTouch(target);
    }
  }

  /** Devices that read and write for ever. */
  *devices(): KernelThread<void> {
    for (;;) {
      if (stops(this.#kernel, "access", NONE)) yield NEXT_STEP;
      const target = this.#pick(this.#deviceDice);
      if (target !== undefined) this.deviceTouch(target);
    }
  }

  /** One load or store of a user program. */
  touch(cpu: number, target: Target): void {
    this.traffic.accesses++;
    const dice = this.#users[cpu]!;
    const fault = this.#kernel.machine.cpu(cpu).touch(somewhereIn(target, dice), writes(target, dice));
    if (fault !== null) this.traffic.faults++;
  }

  *guestTouch(target: Target): KernelThread<void> {
    for (const kvm of this.#listeners.get(target.mm)?.kvms ?? []) {
      this.traffic.guestAccesses++;
      yield* kvm.access(somewhereIn(target, this.#guestDice), writes(target, this.#guestDice));
    }
  }

  deviceTouch(target: Target): void {
    for (const iommu of this.#listeners.get(target.mm)?.iommus ?? []) {
      this.traffic.deviceAccesses++;
      iommu.access(somewhereIn(target, this.#deviceDice), writes(target, this.#deviceDice));
    }
  }

  #pick(dice: Dice): Target | undefined {
    return this.targets.length === 0 ? undefined : this.targets[dice.below(this.targets.length)];
  }
}

function somewhereIn({ address, length }: Target, dice: Dice): Linear {
  if (length === PAGE_SIZE) return address;
  return (address + PAGE_SIZE * dice.below(length / PAGE_SIZE)) as Linear;
}

function writes(target: Target, dice: Dice): boolean {
  return target.writable && dice.below(WRITE_ONE_IN) === 0;
}
