/**
 * Starts two runs in one folder at once, 100 times, every fourth time while the first is killed
 * (test/pipeline/two_starts.test.ts, which npm test runs with 8). Prints a summary as JSON, with the seconds that the
 * refused one took, and exits 0 only if exactly one ran each time. About five minutes, alone on the machine.
 *   npm run build && node test/soak/two_starts.mjs [STARTS [SEED]]
 */
import { soak } from "./soak.mjs";

const [STARTS = "100", SEED = "1"] = process.argv.slice(2);
soak("pipeline/two_starts.test.ts", { STARTS, SEED });
