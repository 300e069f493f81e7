/**
 * npm run mutations: the table of the CUDA kernels' sites. Every barrier, sync, wait and swizzle, by file and line, and the
 * tests that fail without it, as they found it while they ran: bench/mutations.json. Fails where a site has no such test.
 * Needs the test addon (scripts/setup.mjs --tests). Exit status: 0 all are needed, 70 one is not, or a test failed.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { sourceSites } from "./mutation-sites.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const recorded = join(root, "bench", "mutations.json");

/** Test files that switch sites off. */
function testFiles() {
	const folder = join(root, "test", "kernels");
	return readdirSync(folder)
		.filter((name) => name.endsWith(".test.ts") && readFileSync(join(folder, name), "utf8").includes("expectEverySiteNeeded("))
		.map((name) => join("test", "kernels", name));
}

/**
 * The table of `sites` (mutation-sites.mjs) from the rows that tests wrote (test/simt/sites.ts), and what is wrong with it
 * as lines; none: every site is needed by some test.
 */
export function tabulate(sites, rows) {
	const problems = [];
	const left = new Set(rows);
	const table = sites.map(({ file, line, last, kind }) => {
		const mine = rows.filter((row) => row.file === file && row.line >= line && row.line <= last && row.kind === kind);
		for (const row of mine) left.delete(row);
		const detections = mine
			.filter(({ tries }) => tries !== null)
			.map(({ test, capability, tries, mode, seed, failure }) => ({ test, capability, tries, mode, seed, failure }))
			.sort((a, b) => a.tries - b.tries || (a.test < b.test ? -1 : 1));
		const never = mine.filter(({ tries }) => tries === null).map(({ test }) => test);
		if (detections.length === 0) problems.push(`${file}:${line}: ${kind}: no test fails without it`);
		for (const test of never) problems.push(`${file}:${line}: ${kind}: ${test} visits it and does not need it`);
		return { site: `native/cuda/${file}:${line}`, kind, detections };
	});
	for (const { file, line, kind } of left)
		problems.push(`${file}:${line}: ${kind}: switched off by a test, not found in the sources`);
	return { table, problems };
}

/** One line a detection, so that a diff shows what changed. */
export function render(table) {
	const counts = {};
	for (const { kind } of table) counts[kind] = (counts[kind] ?? 0) + 1;
	const entries = table.map(
		({ site, kind, detections }) =>
			`\t\t{"site": ${JSON.stringify(site)}, "kind": ${JSON.stringify(kind)}, "detections": [\n${detections
				.map((detection) => `\t\t\t${JSON.stringify(detection)}`)
				.join(",\n")}\n\t\t]}`,
	);
	return `{\n\t"sites": ${table.length},\n\t"kinds": ${JSON.stringify(counts)},\n\t"table": [\n${entries.join(",\n")}\n\t]\n}\n`;
}

function main() {
	const say = (text) => process.stderr.write(`fintune mutations: ${text}\n`);
	const folder = mkdtempSync(join(tmpdir(), "fintune-mutations-"));
	try {
		const written = join(folder, "rows.jsonl");
		writeFileSync(written, "");
		const started = performance.now();
		const { status } = spawnSync(
			process.execPath,
			[join(root, "scripts", "test.mjs"), ...testFiles(), "--testTimeout=600000", "-t", "every synchronisation"],
			{ stdio: ["ignore", process.stderr, process.stderr], env: { ...process.env, FINTUNE_MUTATIONS: written } },
		);
		const rows = readFileSync(written, "utf8")
			.split("\n")
			.filter((line) => line !== "")
			.map((line) => JSON.parse(line));
		const { table, problems } = tabulate(sourceSites(root), rows);
		if (status !== 0) problems.push("a test failed (above)");
		const seconds = Math.round((performance.now() - started) / 1000);
		say(
			`${table.length} sites, ${rows.length} switched off by ${new Set(rows.map(({ test }) => test)).size} tests, ${seconds} s`,
		);
		for (const problem of problems) say(problem);
		if (problems.length > 0) {
			process.exitCode = 70;
			return;
		}
		writeFileSync(recorded, render(table));
		say(`wrote ${relative(root, recorded)}`);
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) main();
