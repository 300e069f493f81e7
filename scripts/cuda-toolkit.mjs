/**
 * Which CUDA toolkit a build uses, and for which architectures: an installed one (CUDACXX, CUDA_PATH, CUDA_HOME, PATH,
 * /usr/local/cuda), else the one that `npm run cuda:toolchain` made. Run as a program it prints the nvcc found (for plain
 * CMake), or `--json` everything that was looked at.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
/** Where `npm run cuda:toolchain` installs. */
export const toolchainFolder = resolve(process.env.FINTUNE_CUDA_TOOLCHAIN || join(root, ".cache", "cuda"));

/**
 * Machine code for each of these, which also runs on 8.7 (that of 8.6), 10.3 (10.0) and 12.1 (12.0), and PTX of the newest, 12.0,
 * for those above. 11.0 has neither: FINTUNE_CUDA_ARCHITECTURES=110 builds for it. PTX of 9.0 would serve it for 0.8 MiB more.
 */
export const defaultArchitectures = ["75", "80", "86", "89", "90a", "100", "120"];

/** The first toolkit that knows an architecture, as major * 1000 + minor * 10 (CUDART_VERSION's form). */
function firstToolkit(architecture) {
	const number = Number.parseInt(architecture, 10);
	if (number < 100) return 12000;
	return { 100: 12080, 103: 12090, 110: 13000, 120: 12080, 121: 12090 }[number] ?? 13000;
}

/**
 * "75;80 90a" or "75,80,90a" to a list without repetition.
 * @throws Error that says what an architecture looks like
 */
export function parseArchitectures(text) {
	const list = (text ?? "").split(/[;,\s]+/).filter(Boolean);
	if (list.length === 0) return [...defaultArchitectures];
	for (const item of list) {
		if (!/^\d{2,3}[af]?$/.test(item) || Number.parseInt(item, 10) < 75) {
			throw new Error(`FINTUNE_CUDA_ARCHITECTURES: "${item}" is no architecture; write a list such as 80;90a (75 or newer)`);
		}
	}
	return [...new Set(list)];
}

/** nvcc --version to {text: "13.0.88", number: 13000}; undefined where it is something else. */
export function parseVersion(output) {
	const match = /release (\d+)\.(\d+), V([\d.]+)/.exec(output);
	return match ? { text: match[3], number: Number(match[1]) * 1000 + Number(match[2]) * 10 } : undefined;
}

/** nvcc of a folder that pip filled: nvidia/cu13/bin/nvcc, whatever the major version. */
export function toolchainNvcc(folder = toolchainFolder) {
	const packages = join(folder, "nvidia");
	if (!existsSync(packages)) return join(packages, "cu13", "bin", "nvcc");
	const toolkit = readdirSync(packages).find((name) => /^cu\d+$/.test(name)) ?? "cu13";
	return join(packages, toolkit, "bin", "nvcc");
}

function candidates(env) {
	const found = [];
	if (env.CUDACXX) found.push({ origin: "CUDACXX", nvcc: env.CUDACXX, explicit: true });
	for (const name of ["CUDA_PATH", "CUDA_HOME"])
		if (env[name]) found.push({ origin: name, nvcc: join(env[name], "bin", "nvcc") });
	for (const folder of (env.PATH ?? "").split(":").filter(Boolean))
		if (existsSync(join(folder, "nvcc"))) found.push({ origin: "PATH", nvcc: join(folder, "nvcc") });
	found.push({ origin: "/usr/local/cuda", nvcc: "/usr/local/cuda/bin/nvcc" });
	found.push({ origin: "npm run cuda:toolchain", nvcc: toolchainNvcc() });
	return found;
}

function examine(candidate, minimum) {
	const { nvcc } = candidate;
	const lookup = nvcc.includes("/") ? nvcc : undefined;
	if (lookup && !existsSync(lookup)) return { ...candidate, reason: "not there" };
	if (lookup && !statSync(lookup).isFile()) return { ...candidate, reason: "not a file" };
	const result = spawnSync(nvcc, ["--version"], { encoding: "utf8" });
	if (result.error) return { ...candidate, reason: `does not run: ${result.error.code ?? result.error.message}` };
	const version = parseVersion(result.stdout);
	if (!version) return { ...candidate, reason: "is no nvcc (its --version says something else)" };
	if (version.number < minimum) {
		const wanted = `${Math.floor(minimum / 1000)}.${(minimum % 1000) / 10}`;
		return { ...candidate, version, reason: `CUDA ${version.text}, but these architectures need ${wanted} or newer` };
	}
	return { ...candidate, version };
}

/**
 * The toolkit for these architectures.
 * @returns {{toolkit?: {origin: string, nvcc: string, version: {text: string, number: number}}, tried: object[], refused?: string}}
 *   `tried` has a reason for each that is not used; `refused` says that one named by CUDACXX cannot be used
 */
export function findToolkit(architectures = defaultArchitectures, env = process.env) {
	const minimum = Math.max(...architectures.map(firstToolkit));
	const tried = [];
	for (const candidate of candidates(env)) {
		const examined = examine(candidate, minimum);
		tried.push(examined);
		if (!examined.reason) return { toolkit: examined, tried };
		if (examined.explicit) return { tried, refused: `CUDACXX=${examined.nvcc}: ${examined.reason}` };
	}
	return { tried };
}

/** Where a toolkit keeps libcudart_static.a, if not in lib64 (the wheels); the linker must be told. */
export function extraLibraryFolder(nvcc) {
	const base = resolve(dirname(nvcc), "..");
	const lib = join(base, "lib");
	return !existsSync(join(base, "lib64")) && existsSync(join(lib, "libcudart_static.a")) ? lib : undefined;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
	try {
		const architectures = parseArchitectures(process.env.FINTUNE_CUDA_ARCHITECTURES);
		const found = findToolkit(architectures);
		if (process.argv.includes("--json")) process.stdout.write(`${JSON.stringify({ architectures, ...found }, null, 1)}\n`);
		else if (found.toolkit) process.stdout.write(`${found.toolkit.nvcc}\n`);
		else {
			for (const { origin, nvcc, reason } of found.tried) process.stderr.write(`${origin}: ${nvcc}: ${reason}\n`);
			process.exitCode = 69;
		}
	} catch (error) {
		process.stderr.write(`${error.message}\n`);
		process.exitCode = 64;
	}
}
