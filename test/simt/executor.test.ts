/**
 * Runs the executor's self-test (fragments.cu, order.cu, faults.cu, traffic.cu and others beside this file), one case a test.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const program = fileURLToPath(new URL("../../build/simt/selftest", import.meta.url));

function run(...args: string[]): string {
	const { stdout, error, signal } = spawnSync(program, args, { encoding: "utf8" });
	if (error || signal) throw error ?? new Error(`the self-test ended with ${signal}`);
	return stdout.trimEnd();
}

// The executor knows Linux.
describe.runIf(process.platform === "linux")("the SIMT executor", () => {
	it("is built", () => expect(existsSync(program), "build it: node scripts/build-native.mjs --simt").toBe(true));
	for (const name of existsSync(program) ? run("--list").split("\n") : []) {
		it(name, () => expect(run(name)).toBe(`ok ${name}`));
	}
});
