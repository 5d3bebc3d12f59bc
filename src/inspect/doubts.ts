import type { DecodedEntry } from "./decode-report.ts";
import type { Doubt, Doubted, FoundDoubt } from "./doubt.ts";
import { PART_DOUBTS } from "./part-doubts.ts";
import { implausible, otherReadings } from "./plausibility.ts";
import { SHAPE_DOUBTS } from "./shape-doubts.ts";

/** Every doubt: of the whole value first, then of its parts. */
export const DOUBTS: readonly Doubt[] = [...SHAPE_DOUBTS, ...PART_DOUBTS];

/**
 * What is to be doubted about a decoded entry on a CPU of `maxPhyAddr` address bits. Whose whole shape says what it is,
 * is not doubted part by part. An empty list for a value that a machine may hold.
 */
export function doubtsOf(decoded: DecodedEntry, maxPhyAddr: number): FoundDoubt[] {
  const { entry, level, kernels, reserved, present } = decoded;
  const pteFormats = kernels.map(({ pteFormat }) => pteFormat);
  const why = kernels.map(({ linux }) => implausible(linux, maxPhyAddr));
  const impossible = why.find((each) => each === null) === undefined ? why[0]! : null;
  const wrong = impossible ?? (reserved.length > 0 ? `${reserved.join(", ")} set` : null);
  const likelier = wrong === null || present ? [] : otherReadings(entry, level, pteFormats);
  const doubted = { value: entry.toBigInt(), entry, decoded, pteFormats, wrong, likelier };
  const shape = saidBy(SHAPE_DOUBTS, doubted)[0];
  return shape === undefined ? saidBy(PART_DOUBTS, doubted) : [shape];
}

/** Doubts of the whole shape alone: of a value that is no entry of Linux's, `wrong` if nobody can mean it. */
export function shapeDoubts(decoded: DecodedEntry, wrong: string | null): FoundDoubt[] {
  const { entry, kernels } = decoded;
  const pteFormats = kernels.map(({ pteFormat }) => pteFormat);
  return saidBy(SHAPE_DOUBTS, { value: entry.toBigInt(), entry, decoded, pteFormats, wrong, likelier: [] });
}

function saidBy(doubts: readonly Doubt[], doubted: Doubted): FoundDoubt[] {
  return doubts.flatMap((doubt) => {
    const text = doubt.says(doubted);
    return text === null ? [] : [{ id: doubt.id, text }];
  });
}
