import { quote } from "../../formats/format-error.ts";
import { BATCH_RULES } from "./batches.ts";
import { CALL_RULES } from "./calls.ts";
import { DEVICE_RULES } from "./devices.ts";
import { FREED_RULES } from "./freed.ts";
import { GENERIC_RULES } from "./generic.ts";
import { GUEST_RULES } from "./guests.ts";
import { NOTIFIER_RULES } from "./notifier.ts";
import type { Rule } from "./rule.ts";
import { WRITEBACK_RULES } from "./writeback.ts";

/** Every rule, in the order in which they judge one moment. */
export const RULES: readonly Rule[] = [
  ...FREED_RULES,
  ...GENERIC_RULES,
  ...WRITEBACK_RULES,
  ...GUEST_RULES,
  ...NOTIFIER_RULES,
  ...BATCH_RULES,
  ...CALL_RULES,
  ...DEVICE_RULES,
];

/** The rule of that number or name. Throws RangeError when there is none. */
export function ruleOf(id: number | string): Rule {
  const found = RULES.find((each) => String(each.id).toLowerCase() === String(id).toLowerCase());
  if (found === undefined) {
    throw new RangeError(
      `no rule ${quote(String(id))}: there are ${RULES.map((each) => each.id).join(", ")}`,
    );
  }
  return found;
}
