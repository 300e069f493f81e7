/**
 * Makes the checkout ready to run: installs packages when the lock file changed, builds the addon and the TypeScript when
 * a source is newer; with --tests the test addon too. Needs Node, npm, a C++17 compiler and CMake; uses nothing that is not there yet.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { newest } from "./newest.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

function run(command, args) {
	const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", process.stderr, process.stderr] });
	if (result.error) {
		process.stderr.write(`fintune setup: ${command} does not run: ${result.error.message}\n`);
		process.exit(69);
	}
	if (result.status !== 0) process.exit(result.status ?? 70);
}

/** npm writes the lock of what it installed beside it; packages of other systems are listed only in the first. */
function installed() {
	const hidden = join(root, "node_modules", ".package-lock.json");
	if (!existsSync(hidden)) return false;
	const versions = (file) => JSON.parse(readFileSync(file, "utf8")).packages;
	const wanted = versions(join(root, "package-lock.json"));
	const present = versions(hidden);
	return Object.entries(wanted).every(
		([name, entry]) => name === "" || entry.optional || entry.peer || present[name]?.version === entry.version,
	);
}

// Not `npm ci`: it insists on lock entries for the optional packages of every other system, which a registry mirror may lack.
if (!installed()) run("npm", ["install", "--no-audit", "--no-fund"]);
run(process.execPath, [join(root, "scripts", "build-native.mjs"), "--if-stale"]);
// The addon that runs CUDA kernels on the host; its executor knows Linux.
if (process.argv.includes("--tests") && process.platform === "linux")
	run(process.execPath, [join(root, "scripts", "build-native.mjs"), "--simt", "--if-stale"]);

const compiled = join(root, "dist", "cli", "main.js");
const sources = ["src", "tsconfig.json"].map((name) => join(root, name));
if (!existsSync(compiled) || Math.max(...sources.map(newest)) > statSync(join(root, "dist", ".tsbuildinfo")).mtimeMs) {
	run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.json"]);
}
