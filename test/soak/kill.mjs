/**
 * Kills configs/smoke.yaml at 200 random instants, each in a run of its own, and stops it by a signal at 50: every run
 * that follows must end with the same bytes (test/pipeline/kill.test.ts, which npm test runs with a dozen). Prints a
 * summary as JSON and exits 0 only if all did. About an hour and a half on two cores.
 *   npm run build && node test/soak/kill.mjs [KILLS [STOPS [SEED]]]
 */
import { soak } from "./soak.mjs";

const [KILLS = "200", STOPS = "50", SEED = "1"] = process.argv.slice(2);
soak("pipeline/kill.test.ts", { KILLS, STOPS, SEED });
