import { ruleOf } from "../rules/index.ts";
import { BATCH_HISTORIES } from "./batches.ts";
import { CALL_HISTORIES } from "./calls.ts";
import { DEVICE_HISTORIES } from "./devices.ts";
import { FREED_HISTORIES } from "./freed.ts";
import { GENERIC_HISTORIES } from "./generic.ts";
import { GUEST_HISTORIES } from "./guests.ts";
import type { HistoryPair } from "./history.ts";
import { NOTIFIER_HISTORIES } from "./notifier.ts";
import { WRITEBACK_HISTORIES } from "./writeback.ts";

/** For every rule a history that breaks it and one that keeps it. Nothing here needs Node. */
export const HISTORIES: readonly HistoryPair[] = [
  ...FREED_HISTORIES,
  ...GENERIC_HISTORIES,
  ...WRITEBACK_HISTORIES,
  ...GUEST_HISTORIES,
  ...NOTIFIER_HISTORIES,
  ...BATCH_HISTORIES,
  ...CALL_HISTORIES,
  ...DEVICE_HISTORIES,
];

/** The two histories of a rule, as programs. Throws RangeError for what is no rule. */
export function historyPair(id: number | string): HistoryPair {
  const { id: rule } = ruleOf(id);
  const pair = HISTORIES.find((each) => each.rule === rule);
  if (pair === undefined) throw new RangeError(`rule ${rule} has no histories`);
  return pair;
}
