/**
 * A rich, invented report: every element that a report can have, at realistic sizes, and hostile text in every field.
 * The figures are computed from formulas; they claim nothing about any model.
 * @module
 */
import type { EvaluationReport, MetricRow, RunReport, SampleGeneration, TrainingReport } from "../../src/report/types.js";

/** Deterministic noise in [-0.5, 0.5]. */
function noise(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32 - 0.5;
	};
}

export function exampleTraining(stage: string, type: string, steps: number, seed: number): TrainingReport {
	const random = noise(seed);
	const rows: MetricRow[] = [];
	for (let step = 1; step <= steps; step++) {
		const t = step / steps;
		const warmup = Math.min(1, step / (0.05 * steps));
		const clean = type === "dpo" ? Math.LN2 * Math.exp(-3 * t) + 0.02 : 0.35 + 2.1 * Math.exp(-6 * t);
		const row: MetricRow = {
			step,
			epoch: t,
			loss: clean * (1 + 0.35 * random()),
			grad_norm: 0.4 + 1.8 * Math.exp(-4 * t) + 0.3 * Math.abs(random()),
			learning_rate: 5e-5 * warmup * 0.5 * (1 + Math.cos(Math.PI * t)),
			tokens_per_second: 640 + 80 * random(),
		};
		if (step % Math.ceil(steps / 12) === 0) row.eval_loss = clean * 1.04 + 0.02;
		if (type === "dpo") {
			row["rewards/chosen"] = 0.9 * t + 0.1 * random();
			row["rewards/rejected"] = -4.2 * t + 0.3 * random();
			row["rewards/margins"] = (row["rewards/chosen"] ?? 0) - (row["rewards/rejected"] ?? 0);
			row["rewards/accuracies"] = Math.min(1, 0.5 + t);
		}
		rows.push(row);
	}
	const seconds = steps * 1.7;
	return { stage, type, rows, seconds, tokens: steps * 1100, trainableParameters: 9_768_960, microBatchTokens: 4096 };
}

const tasks: readonly (readonly [string, string, string, number, string | undefined, number])[] = [
	["ner", "NER (SEC filings)", "entity_f1", 98, "train lexicon", 0.761],
	["fpb", "Financial PhraseBank", "weighted_f1", 970, "majority", 0.437],
	["fiqasa", "FiQA sentiment", "weighted_f1", 235, "majority", 0.488],
	["fomc", "FOMC hawkish-dovish", "weighted_f1", 496, "majority", 0.331],
	["headlines", "Headlines", "avg_f1", 2283, "majority", 0.612],
	["german", "German credit <risk>", "mcc", 200, "majority", 0],
	["causal20", "FinCausal SC", "weighted_f1", 865, "majority", 0.905],
];

export function exampleEvaluation(
	stage: string,
	level: number,
	overlong: number,
	seed: number,
	split?: string,
): EvaluationReport {
	const random = noise(seed);
	return {
		stage,
		...(split === undefined ? {} : { split }),
		tasks: tasks.map(([task, title, metric, n, floorName, floor]) => {
			const mcc = metric === "mcc";
			const score = mcc ? level * 0.4 - 0.15 + 0.1 * random() : Math.min(0.97, Math.max(0.02, level + 0.25 * random()));
			const half = 1 / Math.sqrt(n) / 1.5;
			const empty = task === "fomc" && stage === "before";
			return {
				task,
				title,
				metric,
				n,
				score: empty ? null : score,
				...(empty ? {} : { low: score - half, high: Math.min(1, score + half * 0.9) }),
				overlong: Math.min(1, Math.max(0, overlong * (1 + random()))),
				missing: Math.max(0, overlong * 0.4 * (1 + random())),
				...(floorName === undefined ? {} : { floor: { name: floorName, score: floor } }),
				all: { [metric]: empty ? null : score, accuracy: empty ? null : Math.min(1, Math.max(0, score + 0.02)) },
			};
		}),
	};
}

const prompt =
	"In the sentences extracted from financial agreements in U.S. SEC filings, identify the named entities that represent a person ('PER'), an organization ('ORG'), or a location ('LOC'). The required answer format is: 'entity name, entity type'.\nText: This LOAN AGREEMENT is made between <b>Silicon Valley Bank</b> (“Bank”) & Juniper Holdings, a Delaware corporation.\nAnswer:";

const samples: SampleGeneration[] = [
	{
		stage: "before",
		output: `Silicon Valley Bank is a bank. ${"The bank is a bank that is a bank. ".repeat(40)}`,
		finishReason: "length",
	},
	{ stage: "sft", output: "Silicon Valley Bank, ORG\nJuniper Holdings, ORG\nDelaware, LOC", finishReason: "stop" },
	{ stage: "final", output: "Silicon Valley Bank, ORG\nDelaware, LOC", finishReason: "stop" },
].map(
	({ stage, output, finishReason }): SampleGeneration => ({
		task: "ner",
		stage,
		prompt,
		expected: "Silicon Valley Bank, ORG\nJuniper Holdings, ORG\nDelaware, LOC",
		output,
		finishReason: finishReason === "length" ? "length" : "stop",
	}),
);

export const hostileOutput =
	"</pre><script>document.title='owned'</script><img src=x onerror=alert(1)> & \"quotes\" 'single' \u0000\u001b[31m ]]> https://example.com/a-very-long-url-without-any-place-to-break-it/abcdefghijklmnopqrstuvwxyz0123456789/abcdefghijklmnopqrstuvwxyz";

export function exampleReport(): RunReport {
	return {
		name: "finllm-example & <sons>",
		status: "done",
		model: "HuggingFaceTB/SmolLM2-135M-Instruct",
		device: "cpu (avx512_bf16, 2 threads)",
		dtype: "bf16",
		stages: [
			{ name: "before", type: "evaluate", status: "reused", seconds: 0 },
			{ name: "sft", type: "sft", status: "done", seconds: 612.4, note: "best checkpoint: step 340 of 400" },
			{ name: "after_sft", type: "evaluate", status: "done", seconds: 211.9 },
			{ name: "dpo", type: "dpo", status: "done", seconds: 187.2, note: "check.overlong = 8.2 % > 5 %; 131 pairs" },
			{ name: "synth", type: "synthesize", status: "skipped", seconds: 0.4, note: "no chain of thought agreed over 4 samples" },
			{ name: "final", type: "evaluate", status: "done", seconds: 204.0 },
		],
		training: [exampleTraining("sft", "sft", 400, 7), exampleTraining("dpo", "dpo", 48, 11)],
		evaluations: [
			exampleEvaluation("before", 0.3, 0.34, 1),
			exampleEvaluation("after_sft", 0.68, 0.08, 2),
			exampleEvaluation("final", 0.74, 0.004, 3),
		],
		samples: [
			...samples,
			{
				task: "fpb",
				stage: "before",
				prompt: "Is <this> positive?",
				expected: "positive",
				output: hostileOutput,
				finishReason: "length",
			},
			{
				task: "fpb",
				stage: "final",
				prompt: "Is <this> positive?",
				expected: "positive",
				output: "positive",
				finishReason: "stop",
			},
			{ task: "fpb", stage: "before", prompt: "空の答え 金融", output: "", finishReason: "stop" },
		],
		configYaml: `name: finllm-example\nmodel: HuggingFaceTB/SmolLM2-135M-Instruct\nstages:\n${Array.from({ length: 40 }, (_, i) => `  - {name: stage${i}, type: evaluate, tasks: [ner, fpb, fomc], max_new_tokens: 128, note: "<&>"}\n`).join("")}`,
		memoryPeakBytes: 1_734_967_296,
		started: "2025-01-02 03:04 UTC",
		finished: "2025-01-02 03:25 UTC",
		versions: { fintune: "0.1.0", node: "20.20.2", "instruction set": "avx512_bf16" },
	};
}

/** What rarely occurs, all at once: many evaluations with long names, scores beyond [0, 1], one step, losses that explode. */
export function awkwardReport(): RunReport {
	const report = exampleReport();
	const one = exampleTraining("one", "sft", 1, 3);
	const flat = exampleTraining("flat", "sft", 60, 4);
	for (const row of flat.rows) Object.assign(row, { loss: 0.5, grad_norm: 0, learning_rate: 0 });
	const exploding = exampleTraining("a-stage-with-a-very-long-name-that-goes-on-and-on", "sft", 3000, 5);
	for (const row of exploding.rows) row.loss = row.step < 1500 ? row.loss * 10 ** (row.step / 200) : Number.NaN;
	const evaluations = Array.from({ length: 9 }, (_, i) =>
		exampleEvaluation(
			i % 2 ? `check-with-a-long-name.${i}` : `e${i}`,
			i / 10,
			0.3 - i / 40,
			i,
			i % 3 === 1 ? "valid" : undefined,
		),
	);
	for (const evaluation of evaluations) {
		const [first, second, third] = evaluation.tasks;
		if (!first || !second || !third) throw new Error("the example has too few tasks");
		Object.assign(first, { metric: "rmse", score: 31.4, low: 12, high: 55.5, floor: { name: "mean of train", score: 71.25 } });
		Object.assign(second, { score: -0.6, low: -0.9, high: -0.3, floor: { name: "none", score: null } });
		Object.assign(third, { score: 1, low: 1, high: 1, floor: { name: "a rule with quite a long name indeed", score: 1 } });
		third.title = "A task with a title that is much longer than any label beside a bar can be";
	}
	return { ...report, name: "x".repeat(120), status: "failed", training: [one, flat, exploding], evaluations, samples: [] };
}
