#!/usr/bin/env node
import { terminalOn } from "./output.ts";
import { processStreams } from "./process-streams.ts";
import { reportError, runCommandLine } from "./run.ts";

const terminal = terminalOn(processStreams());
// Modules of protocols are other people's: what they leave behind must not end in a stack trace and status 1.
process.on("uncaughtException", (error) => {
  process.exit(reportError(error, undefined, terminal));
});
process.exitCode = await runCommandLine(process.argv.slice(2), terminal);
