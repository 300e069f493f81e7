/**
 * The one way the addon is built: cmake-js into build-cmake/ (incremental), then an atomic copy of the product to
 * build/Release/fintune.node, where the loader finds it. `--if-stale` builds only when a source is newer; `--simt` builds
 * the test addon instead, whose device `simt` runs CUDA kernels on the host: build/simt/fintune.node, and the executor's
 * self-test beside it. FINTUNE_CUDA=auto (with the CUDA backend where there is a toolkit; the default), on or off;
 * FINTUNE_CUDA_ARCHITECTURES=80;90a for fewer GPUs.
 */
import { spawnSync } from "node:child_process";
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	statSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { extraLibraryFolder, findToolkit, parseArchitectures } from "./cuda-toolkit.mjs";
import { newest } from "./newest.mjs";

const started = new Date();
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const intermediate = join(root, "build-cmake");
/** What the present build-cmake/ was configured for. */
const record = join(intermediate, "fintune-settings.json");
const simt = process.argv.includes("--simt");
const installed = join(root, "build", simt ? "simt" : "Release", "fintune.node");

function fail(message) {
	process.stderr.write(`fintune build: ${message}\n`);
	process.exit(69);
}

function needs(command, args, install) {
	const result = spawnSync(command, args, { encoding: "utf8" });
	if (result.error || result.status !== 0) fail(`${command} was not found or does not run.\n  Install it: ${install}`);
	return result.stdout.split("\n")[0];
}

/** The toolkit and architectures of this build; null: CPU only. */
function chooseCuda() {
	const wanted = (process.env.FINTUNE_CUDA || "auto").toLowerCase();
	if (!["auto", "on", "off"].includes(wanted)) fail(`FINTUNE_CUDA is auto, on or off, not ${process.env.FINTUNE_CUDA}`);
	if (wanted === "off") return null;
	let architectures;
	try {
		architectures = parseArchitectures(process.env.FINTUNE_CUDA_ARCHITECTURES);
	} catch (error) {
		fail(error.message);
	}
	const { toolkit, tried, refused } = findToolkit(architectures);
	if (refused) fail(`${refused}\n  Unset it, name another nvcc, or build without CUDA: FINTUNE_CUDA=off`);
	if (toolkit) return { nvcc: toolkit.nvcc, version: toolkit.version.text, architectures };
	const table = tried.map(({ origin, nvcc, reason }) => `    ${origin}: ${nvcc}: ${reason}`).join("\n");
	if (wanted === "on") fail(`FINTUNE_CUDA=on, but there is no CUDA toolkit.\n  Install one: npm run cuda:toolchain\n${table}`);
	return null;
}

const cuda = chooseCuda();
const settings = JSON.stringify(cuda);
const configured = existsSync(join(intermediate, "CMakeCache.txt"));
const holds = (file) => existsSync(file) && readFileSync(file, "utf8") === settings;
/** Beside what was built, since the test addon is built apart from the product. */
const builtFor = join(dirname(installed), "settings.json");

if (process.argv.includes("--if-stale") && existsSync(installed) && holds(builtFor)) {
	const scripts = ["build-native.mjs", "cuda-toolkit.mjs"].map((name) => join("scripts", name));
	const sources = ["native", "CMakeLists.txt", "package.json", ...(simt ? ["test/simt"] : []), ...scripts].map((name) =>
		join(root, name),
	);
	if (Math.max(...sources.map(newest)) <= statSync(installed).mtimeMs) process.exit(0);
}

const compiler = process.env.CXX ?? "c++";
needs("cmake", ["--version"], "apt-get install cmake, or brew install cmake (3.22 or newer)");
needs(compiler, ["--version"], "apt-get install g++, or the Xcode command line tools (a C++17 compiler; CXX names another)");

const require = createRequire(import.meta.url);
let cmakeJs;
try {
	cmakeJs = join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
} catch {
	fail("the package cmake-js is missing.\n  Run: npm install");
}
const jobs = String(process.env.FINTUNE_BUILD_JOBS ?? availableParallelism());
process.stderr.write(
	cuda
		? `fintune build: with CUDA ${cuda.version} (${cuda.nvcc}) for sm_${cuda.architectures.join(", ")}\n`
		: "fintune build: for the CPU (a CUDA toolkit adds GPUs: npm run cuda:toolchain installs one)\n",
);
// `build` configures only where there is no CMake cache; objects whose commands stay the same are kept all the same.
if (configured && !holds(record)) {
	rmSync(join(intermediate, "CMakeCache.txt"));
	for (const entry of readdirSync(join(intermediate, "CMakeFiles"), { withFileTypes: true }))
		if (entry.isDirectory()) rmSync(join(intermediate, "CMakeFiles", entry.name, "CMakeCUDACompiler.cmake"), { force: true });
}
const options = cuda
	? ["ON", cuda.nvcc, cuda.architectures.join(";")].map(
			(value, i) => `--CD${["FINTUNE_CUDA", "CMAKE_CUDA_COMPILER", "FINTUNE_CUDA_ARCHITECTURES"][i]}=${value}`,
		)
	: ["--CDFINTUNE_CUDA=OFF"];
const libraries = cuda && extraLibraryFolder(cuda.nvcc);
// `build` after the first time keeps it incremental; `compile` would wipe everything on an error and hide the first one.
const result = spawnSync(
	process.execPath,
	[
		cmakeJs,
		"build",
		...["-O", intermediate, "--parallel", jobs],
		...options,
		...(simt ? ["--target", "fintune-simt"] : []),
		...process.argv.slice(2).filter((a) => a.startsWith("--CD")),
	],
	{
		cwd: root,
		stdio: ["ignore", process.stderr, process.stderr],
		env: {
			...process.env,
			CMAKE_BUILD_PARALLEL_LEVEL: jobs,
			...(libraries ? { LIBRARY_PATH: [libraries, process.env.LIBRARY_PATH].filter(Boolean).join(":") } : {}),
		},
	},
);
if (result.status !== 0) {
	const hints = [
		configured ? " If the settings changed, remove build-cmake/ and try again." : "",
		cuda ? " Without CUDA: FINTUNE_CUDA=off npm run build" : "",
	];
	fail(`the native build failed (above).${hints.join("")}`);
}
writeFileSync(record, settings);
const folder = dirname(installed);
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) if (name.endsWith(".node") && name !== "fintune.node") rmSync(join(folder, name));
const product = (name) => join(intermediate, "product", `${name}.node`);
function install(from, to) {
	copyFileSync(from, `${to}.tmp`);
	// What changes while this builds may be in it or not: for --if-stale it is as old as its beginning.
	utimesSync(`${to}.tmp`, started, started);
	renameSync(`${to}.tmp`, to);
}
if (simt) install(join(intermediate, "product", "simt-selftest"), join(folder, "selftest"));
install(product(simt ? "fintune-simt" : cuda ? "fintune-cuda" : "fintune"), installed);
writeFileSync(builtFor, settings);
const size = (file) => `${(statSync(file).size / 1048576).toFixed(1)} MiB`;
process.stderr.write(
	`fintune build: ${installed} (${size(installed)}${cuda && !simt ? `; without CUDA it is ${size(product("fintune"))}` : ""})\n`,
);
