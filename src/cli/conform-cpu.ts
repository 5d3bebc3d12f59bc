import { CAPABILITIES } from "../conform/capabilities.ts";
import { VENDORS } from "../conform/case.ts";
import { OPTIONAL_FEATURES, type PackCpu, packCpu } from "../conform/cpu-model.ts";
import { quote } from "../formats/format-error.ts";
import { type OptionSpec, type ParsedArguments, UsageError } from "./command.ts";

const WITHOUT = OPTIONAL_FEATURES.map((name) => [`no-${name}`, name] as const);

/** The options that say for which CPU the cases are to be. */
export const CPU_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  vendor: { value: VENDORS.join("|"), help: "only what such a CPU can be asked, as cases of that CPU" },
  maxphyaddr: { value: "N", help: "the same for a CPU of that MAXPHYADDR, 36 to 52" },
  ...Object.fromEntries(
    WITHOUT.map(([option, name]) => [option, { help: `a CPU without ${CAPABILITIES[name].means}` }]),
  ),
};

/** The CPU that the options describe, if one of them is given: Intel and MAXPHYADDR 40 unless said otherwise. */
export function cpuOf(parsed: ParsedArguments): { readonly cpu?: PackCpu } {
  if (!Object.keys(CPU_OPTIONS).some((name) => parsed.has(name))) return {};
  const vendorText = parsed.text("vendor") ?? "intel";
  const vendor = VENDORS.find((name) => name === vendorText);
  if (vendor === undefined)
    throw new UsageError(`--vendor ${quote(vendorText)}: one of ${VENDORS.join(", ")}`);
  const text = parsed.text("maxphyaddr");
  const width = text === undefined ? undefined : /^\d\d$/.test(text) ? Number(text) : 0;
  if (width !== undefined && (width < 36 || width > 52)) {
    throw new UsageError(`--maxphyaddr ${quote(text ?? "")}: give a number from 36 to 52`);
  }
  const lacking = WITHOUT.filter(([option]) => parsed.has(option)).map(([, name]) => name);
  return { cpu: packCpu(vendor, width, lacking) };
}
