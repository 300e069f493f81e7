/**
 * Kills configs/smoke.yaml at 200 random instants, each in a run of its own, and stops it by a signal at 50: every run
 * that follows must end with the same bytes (test/pipeline/kill.test.ts, which npm test runs with a dozen). Prints a
 * summary as JSON and exits 0 only if all did. About an hour and a half on two cores.
 *   npm run build && node test/soak/kill.mjs [KILLS [STOPS [SEED]]]
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");
const [kills = "200", stops = "50", seed = "1"] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "fintune-soak-"));
const summary = join(folder, "summary.json");
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", join(root, "test", "pipeline", "kill.test.ts")], {
	cwd: root,
	stdio: ["ignore", 2, 2],
	env: {
		...process.env,
		FINTUNE_SOAK_KILLS: kills,
		FINTUNE_SOAK_STOPS: stops,
		FINTUNE_SOAK_SEED: seed,
		FINTUNE_SOAK_SUMMARY: summary,
	},
});
if (existsSync(summary)) process.stdout.write(readFileSync(summary));
rmSync(folder, { recursive: true });
process.exitCode = status ?? 70;
