/**
 * Puts what was built where the published package carries it: prebuilds/<platform>-<arch>/ holds the CPU addon by the name
 * that node-gyp-build looks for, and, where the build has CUDA, cuda/ beside it the same with the CUDA backend.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { arch, platform } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, "prebuilds", `${platform()}-${arch()}`);
const libc = platform() === "linux" ? (process.report.getReport().header.glibcVersionRuntime ? ".glibc" : ".musl") : "";
const name = `fintune.node-napi${libc}.node`;
const settings = join(root, "build-cmake", "fintune-settings.json");
if (!existsSync(settings)) {
	process.stderr.write("fintune prebuild: nothing is built yet: npm run build\n");
	process.exit(66);
}
const cuda = JSON.parse(readFileSync(settings, "utf8"));
rmSync(folder, { recursive: true, force: true });
const put = (product, target) => {
	mkdirSync(dirname(target), { recursive: true });
	copyFileSync(join(root, "build-cmake", "product", product), target);
	process.stderr.write(`fintune prebuild: ${relative(root, target)} (${(statSync(target).size / 1048576).toFixed(1)} MiB)\n`);
};
put("fintune.node", join(folder, name));
if (cuda) put("fintune-cuda.node", join(folder, "cuda", name));
else process.stderr.write("fintune prebuild: no CUDA addon, since the build has none\n");
