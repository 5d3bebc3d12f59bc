import { defineConfig } from "vitest/config";

const SLOW = "test/**/*.slow.test.ts";
const EXHAUSTIVE = "test/exhaustive/**";

/** No test is judged by a clock: these end what hangs, on a machine however busy. */
const patience = (seconds: number) => ({ testTimeout: seconds * 1000, hookTimeout: seconds * 1000 });

export default defineConfig({
  test: {
    reporters: ["default", "./test/support/count-reporter.ts"],
    // Files share a worker and what its modules hold: each worker reads and scans a real guest once.
    pool: "threads",
    isolate: false,
    projects: [
      {
        extends: true,
        test: {
          name: "fast",
          include: ["test/**/*.test.ts"],
          exclude: [SLOW, EXHAUSTIVE],
          ...patience(120),
        },
      },
      {
        extends: true,
        test: { name: "slow", include: [SLOW], exclude: [EXHAUSTIVE], ...patience(600) },
      },
      {
        extends: true,
        test: { name: "exhaustive", include: [`${EXHAUSTIVE}/*.test.ts`], ...patience(1800) },
      },
    ],
  },
});
