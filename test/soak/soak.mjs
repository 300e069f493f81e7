/**
 * Runs one test file with bigger numbers than npm test does, prints its summary with the machine's name as JSON, and ends
 * with the status of the test.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

/**
 * @param {string} test path below test/
 * @param {Record<string, string>} numbers FINTUNE_SOAK_... of the test, without this beginning
 */
export function soak(test, numbers) {
	const folder = mkdtempSync(join(tmpdir(), "fintune-soak-"));
	const summary = join(folder, "summary.json");
	const env = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [`FINTUNE_SOAK_${name}`, value]));
	const began = performance.now();
	const { status } = spawnSync(
		process.execPath,
		[join(root, "node_modules", "vitest", "vitest.mjs"), "run", join(root, "test", test)],
		{ cwd: root, stdio: ["ignore", 2, 2], env: { ...process.env, ...env, FINTUNE_SOAK_SUMMARY: summary } },
	);
	if (existsSync(summary)) {
		const document = {
			date: new Date().toISOString().slice(0, 10),
			machine: `${cpus().length} cores, ${cpus()[0].model}`,
			test: `test/${test}`,
			passed: status === 0,
			minutes: Number(((performance.now() - began) / 60_000).toFixed(1)),
			...JSON.parse(readFileSync(summary, "utf8")),
		};
		process.stdout.write(`${JSON.stringify(document, null, "\t")}\n`);
	}
	rmSync(folder, { recursive: true });
	process.exitCode = status ?? 70;
}
