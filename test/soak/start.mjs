/**
 * How long a run takes to begin, on the embedded base: from the start of the process to the end of its first step, with
 * and without what earlier runs left in the user's cache, to "nothing to do", and to the refusal of a folder that another
 * run holds. Medians as JSON; about a minute, alone on the machine.
 *   npm run build && node test/soak/start.mjs [TIMES]
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");
const times = Number(process.argv[2] ?? 7);
const folder = mkdtempSync(join(tmpdir(), "fintune-start-"));
const pipeline = join(folder, "p.yaml");
writeFileSync(
	pipeline,
	`name: start
model: tiny
stages:
  - {name: sft, type: sft, data: [{task: ner, limit: 200}], lora: {r: 8}, batch_size: 4, max_steps: 30}
`,
);

/** Seconds from the start of `fintune run` to each moment, and its exit status. */
function run(out, cache, whileRunning) {
	const began = performance.now();
	const seconds = () => (performance.now() - began) / 1000;
	const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), "run", pipeline, "--out", out], {
		stdio: "ignore",
		env: { ...process.env, XDG_CACHE_HOME: cache },
	});
	const metrics = join(out, "stages", "sft", "metrics.jsonl");
	const fresh = !existsSync(metrics);
	let firstStep;
	const timer = setInterval(() => {
		if (firstStep !== undefined || !fresh || !existsSync(metrics) || statSync(metrics).size === 0) return;
		firstStep = seconds();
		whileRunning?.();
	}, 5);
	return new Promise((done) => {
		child.on("close", (status) => {
			clearInterval(timer);
			done({ status, firstStep, end: seconds() });
		});
	});
}

const median = (values) => Number(values.sort((a, b) => a - b)[Math.floor(values.length / 2)].toFixed(3));
const found = { first_step_without_cache: [], first_step: [], nothing_to_do: [], refused: [] };
try {
	for (let i = 0; i < times; i++) {
		const out = join(folder, `run-${i}`);
		const cache = join(folder, `cache-${i}`);
		const cold = await run(join(folder, `cold-${i}`), cache);
		let second;
		const first = await run(out, cache, () => {
			second = run(out, cache);
		});
		const refused = await second;
		const again = await run(out, cache);
		const statuses = [cold, first, again].map(({ status }) => status);
		if (statuses.some((status) => status !== 0)) throw new Error(`exit statuses ${statuses.join(", ")}`);
		found.first_step_without_cache.push(cold.firstStep);
		found.first_step.push(first.firstStep);
		found.nothing_to_do.push(again.end);
		if (refused.status === 75) found.refused.push(refused.end);
	}
} finally {
	rmSync(folder, { recursive: true });
}
const summary = Object.fromEntries(
	Object.entries(found).map(([name, values]) => [name, { median: median(values), of: values.length }]),
);
process.stdout.write(`${JSON.stringify({ cpu: cpus()[0].model, threads: cpus().length, seconds: summary }, null, "\t")}\n`);
