/**
 * Runs nvcc for CMake (as its compiler launcher): unchanged objects come from a cache by content, and what ptxas says about
 * every kernel is kept beside the object (OBJECT.json) instead of being printed. The cache lies in
 * ~/.cache/fintune/nvcc, or where FINTUNE_NVCC_CACHE says (`off`: none); nothing is lost with it.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	statSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseBounds, splitVerbose } from "./ptxas.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
/** Changes whenever this file makes other objects or reports out of the same sources. */
const formatVersion = "2";
const limitBytes = 2 ** 30;

/** `#include "path"` of a file, and of what it includes, as paths from native/; sorted. */
export function includedFiles(source, folder) {
	const found = new Set();
	const visit = (path) => {
		for (const match of readFileSync(path, "utf8").matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"/gm)) {
			const file = [join(folder, match[1]), join(dirname(path), match[1])].find(existsSync);
			if (!file || found.has(file)) continue;
			found.add(file);
			visit(file);
		}
	};
	visit(source);
	return [...found].sort();
}

/** The parts of CMake's command line that matter here; undefined where it compiles no .cu file to an object. */
export function parseCommand(args) {
	const value = (option) => {
		const at = args.indexOf(option);
		return at < 0 ? undefined : args[at + 1];
	};
	const [source, object] = [value("-c"), value("-o")];
	return source?.endsWith(".cu") && object
		? { source, object, depfile: value("-MF"), target: value("-MT") ?? object }
		: undefined;
}

/** The file of further options that an argument names: `--options-file FILE`, `--options-file=FILE`, `-optf FILE`. */
export function optionsFile(arg, previous) {
	const joined = /^(?:--options-file|-optf)=(.+)$/.exec(arg);
	if (joined) return joined[1];
	return previous === "--options-file" || previous === "-optf" ? arg : undefined;
}

const versions = new Map();
function versionOf(compiler) {
	if (!versions.has(compiler)) versions.set(compiler, spawnSync(compiler, ["--version"], { encoding: "utf8" }).stdout ?? "");
	return versions.get(compiler);
}

function keyOf(nvcc, args, { source, object, depfile, target }, files) {
	const host = args.find((arg) => arg.startsWith("-ccbin="))?.slice("-ccbin=".length) ?? "c++";
	const hash = createHash("sha256").update(`${formatVersion}\n${versionOf(nvcc)}\n${versionOf(host)}\n`);
	const own = new Set([object, depfile, target]);
	// Where the checkout and the compilers lie makes no difference to an object.
	const add = (text) => hash.update(`${text.replaceAll(host, "host").replaceAll(root, ".")}\n`);
	for (const [i, arg] of args.entries()) {
		if (own.has(arg)) continue;
		// Long command lines lie in files, whose names stay the same when what they say changes.
		const options = optionsFile(arg, args[i - 1]);
		add(options ? readFileSync(options, "utf8") : arg);
	}
	for (const file of [source, ...files]) hash.update(`${relative(root, file)}\n`).update(readFileSync(file));
	return hash.digest("hex");
}

function cacheFolder() {
	const wanted = process.env.FINTUNE_NVCC_CACHE;
	if (wanted === "off") return undefined;
	const folder = wanted || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "fintune", "nvcc");
	try {
		mkdirSync(folder, { recursive: true });
		return folder;
	} catch {
		return undefined;
	}
}

const sha256 = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");

/** Puts object and report in their places from the cache; false where they are not there, or damaged. */
function restore(folder, key, object) {
	const stored = join(folder, `${key}.o`);
	try {
		const report = JSON.parse(readFileSync(join(folder, `${key}.json`), "utf8"));
		if (sha256(stored) !== report.sha256) return false;
		copyFileSync(stored, object);
		writeFileSync(`${object}.json`, `${JSON.stringify({ ...report, cached: true })}\n`);
		const now = new Date();
		utimesSync(stored, now, now);
		return true;
	} catch {
		return false;
	}
}

function store(folder, key, object, report) {
	try {
		for (const [name, put] of [
			[`${key}.o`, (to) => copyFileSync(object, to)],
			[`${key}.json`, (to) => writeFileSync(to, JSON.stringify(report))],
		]) {
			const temporary = join(folder, `${name}.${process.pid}`);
			put(temporary);
			renameSync(temporary, join(folder, name));
		}
		evict(folder);
	} catch {
		// A full or read-only disk costs time, not the build.
	}
}

/** Removes what was used longest ago, until the rest is within the limit. */
function evict(folder) {
	const objects = readdirSync(folder)
		.filter((name) => name.endsWith(".o"))
		.map((name) => ({ name, ...statSync(join(folder, name), { throwIfNoEntry: false }) }))
		.filter(({ size }) => size !== undefined)
		.sort((a, b) => b.mtimeMs - a.mtimeMs);
	let sum = 0;
	for (const { name, size } of objects) {
		sum += size;
		if (sum <= limitBytes) continue;
		rmSync(join(folder, name), { force: true });
		rmSync(join(folder, name.replace(/\.o$/, ".json")), { force: true });
	}
}

function compile(nvcc, args, { source, object }) {
	const kept = mkdtempSync(join(tmpdir(), "fintune-nvcc-"));
	try {
		// A fixed seed: names of internal functions, and so the object's bytes, depend on the source alone.
		const more = ["-Xptxas=-v", `-frandom-seed=${relative(root, source)}`, "--keep", "--keep-dir", kept];
		// The shell's `times` is what its children took of the processors, however busy the machine is.
		const timed = ["-c", '"$@"; status=$?; times >"$0"; exit $status', join(kept, "times"), nvcc, ...args, ...more];
		const result = spawnSync("sh", timed, { encoding: "utf8", maxBuffer: 256 << 20 });
		if (result.error) process.stderr.write(`${nvcc}: ${result.error.message}\n`);
		process.stdout.write(result.stdout ?? "");
		const { verbose, rest } = splitVerbose(result.stderr ?? "");
		process.stderr.write(rest);
		if (result.status !== 0) return { status: result.status ?? 1 };
		const bounds = {};
		for (const name of readdirSync(kept)) {
			if (!name.endsWith(".ptx")) continue;
			const ptx = readFileSync(join(kept, name), "utf8");
			const target = /^\.target (sm_\w+)/m.exec(ptx);
			if (target) bounds[target[1]] = parseBounds(ptx);
		}
		const seconds = childSeconds(readFileSync(join(kept, "times"), "utf8"));
		return { status: 0, report: { source: relative(root, source), seconds, sha256: sha256(object), verbose, bounds } };
	} finally {
		rmSync(kept, { recursive: true, force: true });
	}
}

/** Processor seconds of the children in what the shell's `times` prints: "0m1.50s 0m0.25s" in its second line. */
export function childSeconds(times) {
	const parts = [...(times.trim().split("\n")[1] ?? "").matchAll(/(\d+)m([\d.]+)s/g)];
	return parts.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
}

function main([nvcc, ...args]) {
	const command = parseCommand(args);
	if (!command) return spawnSync(nvcc, args, { stdio: "inherit" }).status ?? 1;
	const files = includedFiles(command.source, join(root, "native"));
	const folder = cacheFolder();
	const key = keyOf(nvcc, args, command, files);
	if (folder && restore(folder, key, command.object)) {
		if (command.depfile) writeFileSync(command.depfile, `${command.target}: ${[command.source, ...files].join(" \\\n ")}\n`);
		return 0;
	}
	rmSync(`${command.object}.json`, { force: true });
	const { status, report } = compile(nvcc, args, command);
	if (!report) return status;
	writeFileSync(`${command.object}.json`, `${JSON.stringify({ ...report, cached: false })}\n`);
	if (folder) store(folder, key, command.object, report);
	return 0;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url))
	process.exitCode = main(process.argv.slice(2));
