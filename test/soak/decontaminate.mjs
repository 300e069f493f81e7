/**
 * How long `fintune data check` takes over 100,000 rows, and how much memory: rows of a file against every test split in
 * the data folders. The rows are real ones (the train splits that are there), varied by a seeded word left out, put in or
 * put before. Prints one JSON document; status 1 where it took more than 60 seconds or 1 GB of resident memory.
 *   npm run build:ts && node test/soak/decontaminate.mjs [DATA_FOLDER...]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRows } from "../../dist/data/readers.js";
import { parseRow } from "../../dist/data/rows.js";
import { SeededRandom } from "../../dist/metrics/random.js";
import { taskDataDirs } from "../../dist/tasks/data_dirs.js";
import { comparedTexts, HeldOut, loadIfHere } from "../../dist/tasks/held_out.js";
import { LeakReporter } from "../../dist/tasks/leak_report.js";
import { tasks } from "../../dist/tasks/registry.js";

const wanted = 100_000;
const most = { seconds: 60, bytes: 1e9 };

/** Writes the rows; in a process of its own, so that their memory is not counted. */
async function makeRows(file, folders) {
	const dirs = taskDataDirs(folders);
	const base = [];
	for (const task of tasks) {
		const rows = await loadIfHere(async () => (await task.loadWithReport("train", dirs, { keepTestTexts: true })).rows);
		// Headlines have nine rows a text, and would be most of all.
		for (const { query, answer } of (rows ?? []).filter((_, i) => task.name !== "headlines" || i % 9 === 0)) {
			base.push({ prompt: query, completion: ` ${answer}` });
		}
	}
	const random = new SeededRandom(42);
	const out = createWriteStream(file);
	for (let i = 0; i < wanted; i++) {
		const { prompt, completion } = base[i % base.length];
		const words = prompt.split(" ");
		if (i >= base.length)
			words.splice(random.below(words.length), random.below(2), ...["the", "gold", ""].slice(random.below(3)));
		if (!out.write(`${JSON.stringify({ prompt: words.join(" "), completion })}\n`)) await once(out, "drain");
	}
	out.end();
	await once(out, "finish");
}

async function* checkedRows(file) {
	for await (const raw of readRows(file)) {
		yield { source: raw.source, texts: comparedTexts(parseRow(raw)), loosest: "near" };
	}
}

const [first, ...rest] = process.argv.slice(2);
if (first === "--make") {
	await makeRows(rest[0], rest.slice(1));
} else {
	const folders = process.argv.slice(2);
	const dir = mkdtempSync(join(tmpdir(), "fintune-soak-"));
	try {
		const file = join(dir, "rows.jsonl");
		const maker = spawn(process.execPath, [fileURLToPath(import.meta.url), "--make", file, ...folders], { stdio: "inherit" });
		const [status] = await once(maker, "close");
		if (status !== 0) throw new Error(`the rows could not be made: status ${status}`);
		const started = performance.now();
		const heldOut = await HeldOut.load(taskDataDirs(folders));
		const indexed = performance.now();
		const reporter = new LeakReporter(heldOut);
		await reporter.add("rows", checkedRows(file));
		const ended = performance.now();
		const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
		const { training, test, pairs } = reporter.report;
		const measured = {
			rows: training[0].rows,
			testSets: test.length,
			testTexts: test.reduce((n, set) => n + set.texts, 0),
			leaks: Object.fromEntries(pairs.map((pair) => [pair.test, pair.trainRows])),
			indexSeconds: (indexed - started) / 1000,
			seconds: (ended - started) / 1000,
			cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
			peakBytes: maxRSS * 1024,
		};
		process.stdout.write(`${JSON.stringify(measured, null, "\t")}\n`);
		if (measured.seconds > most.seconds || measured.peakBytes > most.bytes) process.exitCode = 1;
	} finally {
		rmSync(dir, { recursive: true, force: true });
	}
}
