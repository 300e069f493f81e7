/**
 * fintune's side of peft_ner.py: the same rows in the same order, at the same learning rates, from the same initial adapter;
 * prints one JSON document of the same shape. README.md beside this file says how the two are compared.
 *
 *   node bench/peers/fintune_ner.mjs --model DIR --rows train.jsonl --order order.json [--adapter DIR] [--steps N]
 *        [--dtype auto|f32|bf16] [--threads N] [--batch 16] [--micro-batch-tokens 2048] [--learning-rate 2e-4]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { initAdapter, openModel } from "../../dist/index.js";
import { openTokenizer } from "../../dist/text/tokenizer.js";

const warmupSteps = 5;

const { values } = parseArgs({
	options: {
		model: { type: "string" },
		rows: { type: "string" },
		order: { type: "string" },
		adapter: { type: "string" },
		steps: { type: "string" },
		dtype: { type: "string", default: "auto" },
		threads: { type: "string" },
		batch: { type: "string", default: "16" },
		"micro-batch-tokens": { type: "string", default: "2048" },
		"learning-rate": { type: "string", default: "2e-4" },
		r: { type: "string", default: "128" },
	},
});
if (!values.model || !values.rows || !values.order) {
	process.stderr.write("--model, --rows and --order are needed\n");
	process.exit(64);
}
const batch = Number(values.batch);
const budget = Number(values["micro-batch-tokens"]);
const r = Number(values.r);

const tokenizer = await openTokenizer(values.model);
const examples = readFileSync(values.rows, "utf8")
	.trim()
	.split("\n")
	.map((line) => {
		const { prompt, completion } = JSON.parse(line);
		const start = tokenizer.encode(prompt);
		const end = [...tokenizer.encode(` ${completion}`), tokenizer.eosId];
		return {
			inputIds: [...start, ...end],
			completionMask: [...start.map(() => 0), ...end.map(() => 1)],
			targets: end.length,
		};
	});
const order = JSON.parse(readFileSync(values.order, "utf8"));
const schedule = Math.floor(order.length / batch);
const count = Math.min(Number(values.steps ?? schedule), schedule);

/** Micro-batches of at most `budget` tokens, in order. */
function pack(rows) {
	const packs = [[]];
	let tokens = 0;
	for (const [i, row] of rows.entries()) {
		if (tokens > 0 && tokens + row.inputIds.length > budget) {
			packs.push([]);
			tokens = 0;
		}
		packs.at(-1).push(i);
		tokens += row.inputIds.length;
	}
	return packs;
}

const model = await openModel(values.model, {
	dtype: values.dtype,
	...(values.threads ? { threads: Number(values.threads) } : {}),
});
await model.addAdapter(values.adapter ?? initAdapter(model.config, { r, alpha: 2 * r, seed: 0 }));
const trainer = model.createTrainer({ maxGradNorm: 1, recompute: "selective" });
const steps = [];
for (let s = 0; s < count; s++) {
	const started = performance.now();
	const rows = order.slice(s * batch, (s + 1) * batch).map((i) => examples[i]);
	const learningRate = Number(values["learning-rate"]) * Math.min(1, (s + 1) / warmupSteps) * (1 - s / schedule);
	const { loss, gradNorm } = await trainer.step({ sequences: rows, microBatches: pack(rows) }, { learningRate });
	steps.push({
		loss,
		grad_norm: gradNorm,
		seconds: (performance.now() - started) / 1000,
		tokens: rows.reduce((n, row) => n + row.inputIds.length, 0),
		targets: rows.reduce((n, row) => n + row.targets, 0),
	});
	process.stderr.write(`step ${s}: ${JSON.stringify(steps.at(-1))}\n`);
}
const timed = steps.slice(1);
const seconds = timed.reduce((n, x) => n + x.seconds, 0);
const lastTen = steps.slice(-10);
process.stdout.write(
	`${JSON.stringify(
		{
			program: "fintune",
			dtype: model.dtype,
			threads: model.threads,
			batch,
			micro_batch_tokens: budget,
			tokens_per_second: timed.reduce((n, x) => n + x.tokens, 0) / seconds,
			timed_steps: timed.length,
			mean_loss_of_last_ten: lastTen.reduce((n, x) => n + x.loss, 0) / lastTen.length,
			peak_resident_bytes: process.resourceUsage().maxRSS * 1024,
			steps,
		},
		null,
		1,
	)}\n`,
);
