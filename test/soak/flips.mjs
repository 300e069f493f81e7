/**
 * Flips a bit or cuts a file 300 times, in every file of finished and interrupted runs in turn, and runs again
 * (test/pipeline/flips.test.ts, which npm test runs with 30). Prints a summary as JSON and exits 0 only if each was noticed
 * or did not matter, and every run ended with the same bytes. About ten minutes on two cores.
 *   npm run build && node test/soak/flips.mjs [FLIPS [SEED]]
 */
import { soak } from "./soak.mjs";

const [FLIPS = "300", SEED = "1"] = process.argv.slice(2);
soak("pipeline/flips.test.ts", { FLIPS, SEED });
