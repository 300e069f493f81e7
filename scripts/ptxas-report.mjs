/**
 * What ptxas made of every kernel, for every architecture: builds, and writes bench/ptxas.json (registers, spills, stack,
 * static shared memory, and how many blocks an SM holds). `--check` compares with that file instead, and fails on a new
 * spill, a lost occupancy step, a kernel that is not recorded, or when compiling takes longer than CI may. Both fail where
 * ptxas serialised wgmma instructions.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defaultArchitectures } from "./cuda-toolkit.mjs";
import { blocksPerMultiprocessor, parseLosses, parseVerbose, readableNames } from "./ptxas.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const recorded = join(root, "bench", "ptxas.json");
/** All of nvcc's work: 15 minutes on 2 cores. */
const budgetSeconds = 2 * 15 * 60;

/**
 * One compiler run (OBJECT.json of scripts/nvcc.mjs) as {kernel: {architecture: facts}}; facts that are 0 are left out.
 * Overloads of one name, which the name alone does not tell apart, get a number in the order of their symbols.
 */
export function kernelsOf({ verbose, bounds }, names = readableNames) {
	const entries = parseVerbose(verbose).sort((a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0));
	const readable = entries.length > 0 ? names(entries.map(({ symbol }) => symbol)) : [];
	const kernels = {};
	for (const [i, { symbol, arch, ...facts }] of entries.entries()) {
		let name = readable[i];
		for (let n = 2; kernels[name]?.[arch]; n++) name = `${readable[i]} #${n}`;
		const [threads = 0, minBlocks = 0] = bounds[arch]?.[symbol] ?? [];
		const blocks = blocksPerMultiprocessor(arch, threads, facts.registers) ?? 0;
		const all = { ...facts, threads, minBlocks, blocks };
		kernels[name] ??= {};
		kernels[name][arch] = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== 0));
	}
	return kernels;
}

/** What is worse now than recorded, or not recorded, as lines; empty: all is well. */
export function compare(now, before) {
	const problems = [];
	const files = new Set([...Object.keys(now), ...Object.keys(before)]);
	for (const file of [...files].sort()) {
		const names = new Set([...Object.keys(now[file] ?? {}), ...Object.keys(before[file] ?? {})]);
		for (const name of [...names].sort()) {
			const [a, b] = [before[file]?.[name], now[file]?.[name]];
			for (const arch of Object.keys({ ...a, ...b }).sort())
				problems.push(...worse(a?.[arch], b?.[arch]).map((what) => `${file}: ${name}, ${arch}: ${what}`));
		}
	}
	return problems;
}

function worse(before, now) {
	if (!before) return ["not recorded"];
	if (!now) return ["recorded, but not in this build"];
	const problems = [];
	const spills = (facts) => (facts.spillStores ?? 0) + (facts.spillLoads ?? 0);
	if (spills(now) > spills(before)) problems.push(`spills ${spills(now)} bytes, ${spills(before)} recorded`);
	if ((now.stack ?? 0) > (before.stack ?? 0)) problems.push(`stack of ${now.stack} bytes, ${before.stack ?? 0} recorded`);
	if ((now.blocks ?? 0) < (before.blocks ?? 0)) {
		problems.push(
			`${now.blocks ?? 0} blocks an SM (${now.registers} registers), ${before.blocks} recorded (${before.registers} registers)`,
		);
	}
	return problems;
}

/** Kernels of compiler runs whose wgmma instructions ptxas serialised, as lines; no record excuses them. */
export function serialised(reports, names = readableNames) {
	return reports.flatMap(({ name, verbose }) => {
		const losses = parseLosses(verbose);
		const readable = losses.length > 0 ? names(losses.map(({ symbol }) => symbol)) : [];
		return losses.map(({ code, reason }, i) => `${name}: ${readable[i]}: ${reason} (${code})`);
	});
}

/** bench/ptxas.json: one line a kernel and architecture, so that a diff shows what changed. */
export function render(toolkit, files) {
	const body = Object.keys(files)
		.sort()
		.map((file) => {
			const kernels = Object.keys(files[file])
				.sort()
				.map((name) => {
					const archs = Object.entries(files[file][name]).sort(
						([a], [b]) => Number.parseInt(a.slice(3), 10) - Number.parseInt(b.slice(3), 10),
					);
					const lines = archs.map(
						([arch, facts]) => `\t\t\t\t"${arch}": ${JSON.stringify(facts).replaceAll(",", ", ").replaceAll(":", ": ")}`,
					);
					return `\t\t\t${JSON.stringify(name)}: {\n${lines.join(",\n")}\n\t\t\t}`;
				});
			return `\t\t${JSON.stringify(file)}: {\n${kernels.join(",\n")}\n\t\t}`;
		});
	return `{\n\t"nvcc": "${toolkit}",\n\t"files": {\n${body.join(",\n")}\n\t}\n}\n`;
}

/** The reports of the present sources from the build's folders: what only sm_90a compiles has its own. */
function collect() {
	const targets = join(root, "build-cmake", "CMakeFiles");
	const sources = readdirSync(join(root, "native", "cuda")).filter((name) => name.endsWith(".cu"));
	return sources.sort().map((name) => {
		const target = name.endsWith("_sm90a.cu") ? "cuda_sm90a.dir" : "cuda.dir";
		const report = join(targets, target, "native", "cuda", `${name}.o.json`);
		if (!existsSync(report)) throw new Error(`${relative(root, report)} is not there: remove build-cmake/ and try again`);
		return { name, ...JSON.parse(readFileSync(report, "utf8")) };
	});
}

function main() {
	const fail = (message) => {
		process.stderr.write(`fintune ptxas: ${message}\n`);
		process.exitCode = 1;
	};
	const environment = { ...process.env, FINTUNE_CUDA: "on" };
	const build = spawnSync(process.execPath, [join(root, "scripts", "build-native.mjs"), "--if-stale"], {
		stdio: "inherit",
		env: environment,
	});
	if (build.status !== 0) return fail("the build failed (above)");
	const settings = JSON.parse(readFileSync(join(root, "build-cmake", "fintune-settings.json"), "utf8"));
	if (settings.architectures.join() !== defaultArchitectures.join())
		return fail("built for other architectures than the usual ones: unset FINTUNE_CUDA_ARCHITECTURES");
	const reports = collect();
	const files = Object.fromEntries(reports.map((report) => [report.name, kernelsOf(report)]));
	const all = Object.values(files).flatMap((kernels) => Object.values(kernels).flatMap((archs) => Object.values(archs)));
	const seconds = reports.reduce((sum, report) => sum + report.seconds, 0);
	const spilling = all.filter(({ spillStores, spillLoads }) => spillStores || spillLoads).length;
	process.stderr.write(
		`fintune ptxas: nvcc ${settings.version}: ${reports.length} files (${reports.filter(({ cached }) => cached).length} from the cache), ` +
			`${all.length} kernels over all architectures, ${spilling} of them spill; compiling them takes ${Math.round(seconds)} s of one core\n`,
	);
	const lost = serialised(reports);
	if (lost.length > 0)
		return fail(
			`ptxas serialised wgmma instructions:\n  ${lost.join("\n  ")}\n` +
				"  Touch accumulators and operand registers only before wgmma.fence or after wgmma.wait_group, or take a smaller tile.",
		);
	if (!process.argv.includes("--check")) {
		writeFileSync(recorded, render(settings.version, files));
		process.stderr.write(`fintune ptxas: wrote ${relative(root, recorded)}\n`);
		return;
	}
	if (!existsSync(recorded)) return fail(`${relative(root, recorded)} is not there: npm run ptxas writes it`);
	const before = JSON.parse(readFileSync(recorded, "utf8"));
	if (before.nvcc !== settings.version)
		return fail(
			`recorded with nvcc ${before.nvcc}, built with ${settings.version}: compare with the same (npm run cuda:toolchain)`,
		);
	const problems = compare(files, before.files);
	if (seconds > budgetSeconds) problems.push(`compiling takes ${Math.round(seconds)} s of one core, more than ${budgetSeconds}`);
	if (problems.length > 0)
		fail(`against ${relative(root, recorded)}:\n  ${problems.join("\n  ")}\n  If this is meant, record it: npm run ptxas`);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) main();
