/**
 * Cuts the power at 500 points of recorded runs, in four ways each, and lets 100 runs go on from what is left
 * (test/power/power_loss.test.ts, which npm test runs with 40 and 3). Prints a summary as JSON and exits 0 only if nothing
 * half-done counted and every run ended with the same bytes. About a quarter of an hour on two cores.
 *   npm run build && node test/soak/power_loss.mjs [POINTS [RERUNS [SEED]]]
 */
import { soak } from "./soak.mjs";

const [POINTS = "500", RERUNS = "100", SEED = "1"] = process.argv.slice(2);
soak("power/power_loss.test.ts", { POINTS, RERUNS, SEED });
