/**
 * Runs on disks of 60 sizes, each full at another place of another stage, with and without checkpoints
 * (test/pipeline/disk.test.ts, which npm test runs with 6). Prints a summary as JSON and exits 0 only if every run ended with
 * status 74, and with the same bytes once there was room. About ten minutes on two cores.
 *   npm run build && node test/soak/disk.mjs [SIZES]
 */
import { soak } from "./soak.mjs";

const [SIZES = "60"] = process.argv.slice(2);
soak("pipeline/disk.test.ts", { SIZES });
