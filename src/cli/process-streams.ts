import { fstatSync, writeSync } from "node:fs";
import type { Streams } from "./output.ts";
import { OutputError } from "./output-error.ts";

const STDOUT = 1;
const NAME = "standard output";

/** Colour only on a terminal that does not say no (https://no-color.org). */
function wantsColour(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv): boolean {
  const refused = (environment.NO_COLOR ?? "") !== "" || environment.TERM === "dumb";
  return stream.isTTY === true && !refused;
}

/** The streams of this process. What standard error cannot take is lost: there is nowhere else to say so. */
export function processStreams(): Streams {
  const { stdout, stderr, env } = process;
  // Errors come to whoever writes; without a listener they would end the process as well.
  stdout.on("error", () => {});
  stderr.on("error", () => {});
  return {
    output: isStream(stdout) ? (text) => writeStream(stdout, text) : writeFile,
    errors: (text) => {
      stderr.write(text);
    },
    colours: wantsColour(stdout, env),
    live: stderr.isTTY === true,
  };
}

/** A terminal, a pipe or a socket: anything that is not simply a file or a device. */
function isStream(stdout: NodeJS.WriteStream): boolean {
  if (stdout.isTTY === true) return true;
  const stats = fstatSync(STDOUT);
  return !stats.isFile() && !stats.isCharacterDevice();
}

function writeStream(stdout: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stdout.write(text, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(new OutputError(NAME, error));
    });
  });
}

/** Node's own stream takes a piece that is written in part, as on a disk that has just become full, for written. */
function writeFile(text: string): Promise<void> {
  const bytes = Buffer.from(text);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(STDOUT, bytes, done);
    return Promise.resolve();
  } catch (error) {
    return Promise.reject(new OutputError(NAME, error));
  }
}
