#!/usr/bin/env node
import { processTerminal } from "./output.ts";
import { runCommandLine } from "./run.ts";

process.exitCode = await runCommandLine(process.argv.slice(2), processTerminal());
