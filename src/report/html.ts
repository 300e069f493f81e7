/**
 * report.html: a run in one file that opens from disk. No script, no external resource; a content security policy
 * inside the file holds that, whatever a model may have generated.
 * @module
 */
import { lossChart, metricChart, overlongChart, pooledOverlong, rewardChart, taskChart } from "./charts.js";
import {
	formatBytes,
	formatCount,
	formatDelta,
	formatLoss,
	formatPercent,
	formatScore,
	formatSeconds,
	noValue,
} from "./numbers.js";
import { styleSheet } from "./style.js";
import { escapeMarkup as esc } from "./svg.js";
import { evaluationLabel, type TaskHistory, taskHistories } from "./table.js";
import type { EvaluationReport, RunReport, SampleGeneration, TaskReport, TrainingReport } from "./types.js";

/** Prompts longer than this are folded. */
const longPrompt = 240;

/**
 * Renders a run. Equal input gives equal bytes: no clock, no random id.
 * @returns the whole HTML document
 */
export function renderReport(report: RunReport): string {
	const histories = taskHistories(report.evaluations);
	const sections = [
		stagesSection(report),
		scoresSection(report.evaluations, histories),
		overlongSection(report.evaluations, histories),
		trainingSection(report),
		samplesSection(report.samples, histories),
		configSection(report),
	];
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="generator" content="fintune">
<link rel="icon" href="data:,">
<title>${esc(report.name)} · fintune</title>
<style>
${styleSheet}
</style>
</head>
<body>
${headerSection(report)}
<main>
${sections.filter(Boolean).join("\n")}
</main>
<footer>${footer(report)}</footer>
</body>
</html>
`;
}

/** Colour of a status word: what needs a look stands out, what is neither good nor bad stays grey. */
function badge(status: string): string {
	const good = /^(done|reused|ok|passed|finished)$/i.test(status);
	const bad = /fail|error|not.?passed|broken/i.test(status);
	const warn = /abort|interrupt|stopped|preempt|partial|running/i.test(status);
	return `<span class="badge${bad ? " bad" : warn ? " warn" : good ? " good" : ""}">${esc(status)}</span>`;
}

function headerSection(report: RunReport): string {
	const facts: [string, string | undefined][] = [
		["Model", report.model],
		["Device", report.device],
		["Compute", report.dtype],
		["Started", report.started],
		["Finished", report.finished],
		[
			"Time in stages",
			report.stages.length > 0 ? formatSeconds(report.stages.reduce((sum, s) => sum + s.seconds, 0)) : undefined,
		],
		["Peak memory", report.memoryPeakBytes === undefined ? undefined : formatBytes(report.memoryPeakBytes)],
	];
	const list = facts.flatMap(([term, value]) => (value ? [`<div><dt>${term}</dt><dd>${esc(value)}</dd></div>`] : []));
	return `<header class="page"><div class="title"><h1>${esc(report.name)}</h1>${badge(report.status)}</div>
<dl class="facts panel">${list.join("")}</dl></header>`;
}

const footer = (report: RunReport): string =>
	Object.entries(report.versions)
		.map(([component, version]) => `${esc(component)} ${esc(version)}`)
		.join(" · ");

/** A table in a box that scrolls by itself when the page is narrower, reachable by keyboard. */
function table(label: string, head: readonly string[], rows: readonly string[]): string {
	return `<div class="panel scroll" role="region" aria-label="${esc(label)}" tabindex="0"><table><thead><tr>${head.join("")}</tr></thead><tbody>
${rows.join("\n")}
</tbody></table></div>`;
}

const th = (text: string, numeric = false): string => `<th scope="col"${numeric ? ' class="n"' : ""}>${esc(text)}</th>`;
const number = (text: string): string => `<td class="n">${esc(text)}</td>`;

function stagesSection(report: RunReport): string {
	if (report.stages.length === 0) return "";
	const rows = report.stages.map(
		(stage) =>
			`<tr><th scope="row">${esc(stage.name)}</th><td>${esc(stage.type)}</td><td>${badge(stage.status)}</td>${number(formatSeconds(stage.seconds))}<td class="text">${esc(stage.note ?? "")}</td></tr>`,
	);
	return `<section aria-labelledby="stages"><h2 id="stages">Stages</h2>
${table("Stages of the run", [th("Stage"), th("Type"), th("Status"), th("Time", true), th("Note")], rows)}${report.promotion === undefined ? "" : `\n<p>${esc(report.promotion)}</p>`}</section>`;
}

function scoreCell(result: TaskReport | undefined, history: TaskHistory): string {
	if (!result) return `<td class="n">${noValue}</td>`;
	const floor = history.floor?.score;
	const below =
		result.score !== null &&
		floor !== null &&
		floor !== undefined &&
		(result.lowIsGood ? result.score >= floor : result.score <= floor);
	const interval =
		result.low === undefined || result.high === undefined ? "" : `[${formatScore(result.low)}, ${formatScore(result.high)}]`;
	const { otherScoring } = result;
	const other = otherScoring ? `${otherScoring.name} ${formatScore(otherScoring.score)}` : "";
	const note = [interval, other, ...(result.verdict ? [esc(result.verdict)] : below ? ["not above the floor"] : [])].filter(
		Boolean,
	);
	return `<td class="n">${formatScore(result.score)}${note.map((text, i) => `<small${below && i === note.length - 1 ? ' class="below"' : ""}>${text}</small>`).join("")}</td>`;
}

function deltaCell(history: TaskHistory): string {
	const delta = history.deltas.findLast((value) => value !== undefined);
	if (delta === undefined || delta === null) return `<td class="n">${noValue}</td>`;
	const text = formatDelta(delta);
	return `<td class="n${text.startsWith("+") ? " up" : text.startsWith("−") ? " down" : ""}">${text}</td>`;
}

function scoresSection(evaluations: readonly EvaluationReport[], histories: readonly TaskHistory[]): string {
	if (histories.length === 0) return "";
	const gain = evaluations.length > 1;
	const head = [
		th("Task"),
		th("Rows", true),
		th("Floor", true),
		...evaluations.map((e) => th(evaluationLabel(e), true)),
		...(gain ? [th("Gain", true)] : []),
	];
	const rows = histories.map((history) => {
		const counts = [...new Set(history.results.flatMap((result) => (result ? [result.n] : [])))].map(formatCount).join(" / ");
		const floor = `<td class="n">${formatScore(history.floor?.score)}<small>${esc(history.floor?.name ?? "")}</small></td>`;
		return `<tr><th scope="row">${esc(history.title)}<small>${esc(history.metric)}</small></th>${number(counts)}${floor}${history.results.map((result) => scoreCell(result, history)).join("")}${gain ? deltaCell(history) : ""}</tr>`;
	});
	const charts = histories.map((history, i) =>
		figure(taskChart(history, evaluations, `score${i}`), history.title, history.metric),
	);
	return `<section aria-labelledby="scores"><h2 id="scores">Scores</h2>
<p class="note">In brackets and as whiskers: 95 % bootstrap intervals. Floor: what a rule without a model reaches on the same rows. Gain: last evaluation against the first on the same split.</p>
${table("Scores per task and evaluation", head, rows)}
<div class="grid">${charts.join("\n")}</div></section>`;
}

function figure(svg: string, title: string, detail = ""): string {
	if (svg === "") return "";
	return `<figure class="panel"><figcaption><h3>${esc(title)}</h3>${detail ? `<small>${esc(detail)}</small>` : ""}</figcaption>${svg}</figure>`;
}

function overlongSection(evaluations: readonly EvaluationReport[], histories: readonly TaskHistory[]): string {
	if (histories.length === 0) return "";
	const cell = (result: TaskReport | undefined): string => {
		if (!result) return `<td class="n">${noValue}</td>`;
		const missing = result.missing === undefined ? "" : `<small>missing ${formatPercent(result.missing)}</small>`;
		return `<td class="n">${formatPercent(result.overlong)}${missing}</td>`;
	};
	const row = (title: string, cells: readonly string[]): string => `<tr><th scope="row">${esc(title)}</th>${cells.join("")}</tr>`;
	const pooled = row(
		"All rows",
		evaluations.map((evaluation) => number(formatPercent(pooledOverlong(evaluation)))),
	);
	const rows = histories.map((history) => row(history.title, history.results.map(cell)));
	const head = [th("Task"), ...evaluations.map((e) => th(evaluationLabel(e), true))];
	return `<section aria-labelledby="overlong"><h2 id="overlong">Overlong answers</h2>
<p class="note">Overlong: the answer reached the limit of new tokens without an end. Missing: no answer could be read from it.</p>
<div class="grid">${figure(overlongChart(evaluations, "overlong-chart"), "Overlong share", "per task and evaluation")}
${table("Overlong and missing shares", head, [...(histories.length > 1 ? [pooled] : []), ...rows])}</div></section>`;
}

function trainingSection(report: RunReport): string {
	if (report.training.length === 0) return "";
	const head = ["Stage", "Type"].map((text) => th(text));
	head.push(
		...["Steps", "Tokens", "Time", "Tokens/s", "Micro-batch", "Trainable", "First loss", "Last loss", "Best validation"].map(
			(text) => th(text, true),
		),
	);
	const rows = report.training.map((training) => {
		const losses = training.rows.map((row) => row.loss);
		const validation = training.rows.flatMap((row) =>
			row.eval_loss === undefined || !Number.isFinite(row.eval_loss) ? [] : [row.eval_loss],
		);
		const cells = [
			formatCount(training.rows.at(-1)?.step ?? 0),
			formatCount(training.tokens),
			formatSeconds(training.seconds),
			training.seconds > 0 ? formatCount(training.tokens / training.seconds) : noValue,
			formatCount(training.microBatchTokens),
			formatCount(training.trainableParameters),
			formatLoss(losses[0]),
			formatLoss(losses.at(-1)),
			validation.length > 0 ? formatLoss(Math.min(...validation)) : noValue,
		];
		return `<tr><th scope="row">${esc(training.stage)}</th><td>${esc(training.type)}</td>${cells.map(number).join("")}</tr>`;
	});
	const memory = report.memoryPeakBytes === undefined ? "" : ` Peak memory of the run: ${formatBytes(report.memoryPeakBytes)}.`;
	return `<section aria-labelledby="training"><h2 id="training">Training</h2>
<p class="note">Tokens count prompts and completions; time is the training loop alone; a micro-batch is at most so many tokens, whichever example is longest.${memory}</p>
${table("Throughput and memory of training", head, rows)}
${report.training.map(trainingCharts).join("\n")}</section>`;
}

function trainingCharts(training: TrainingReport, index: number): string {
	const id = (name: string): string => `${name}${index}`;
	const unit = training.type === "dpo" ? "mean per pair" : "mean per supervised token";
	const rewards = figure(rewardChart(training, id("reward")), `${training.stage}: rewards`, "mean of each step");
	const small = [
		figure(metricChart(training, "learning_rate", "learning rate", id("lr")), `${training.stage}: learning rate`),
		figure(
			metricChart(training, "grad_norm", "gradient norm", id("grad")),
			`${training.stage}: gradient norm`,
			"before clipping",
		),
	].filter(Boolean);
	const loss = figure(lossChart(training, id("loss"), rewards || small.length < 2 ? 270 : 420), `${training.stage}: loss`, unit);
	// Two large and two small pictures make two rows; one large one has the small ones beside it.
	const cells = rewards ? [loss, rewards, ...small] : [loss, `<div class="stack">${small.join("\n")}</div>`];
	return `<div class="grid">${cells.filter(Boolean).join("\n")}</div>`;
}

function samplesSection(samples: readonly SampleGeneration[], histories: readonly TaskHistory[]): string {
	if (samples.length === 0) return "";
	const groups = new Map<string, SampleGeneration[]>();
	for (const sample of samples) {
		const key = `${sample.task}\u0000${sample.prompt}`;
		groups.set(key, [...(groups.get(key) ?? []), sample]);
	}
	const title = (task: string): string => histories.find((history) => history.task === task)?.title ?? task;
	return `<section aria-labelledby="samples"><h2 id="samples">Sample generations</h2>
<p class="note">The same prompt before and after; an overlong answer is shown whole, up to the limit at which it was stopped.</p>
${[...groups.values()].map((group) => sampleGroup(group, title((group[0] as SampleGeneration).task))).join("\n")}</section>`;
}

function sampleGroup(group: readonly SampleGeneration[], title: string): string {
	const first = group[0] as SampleGeneration;
	const prompt = `<pre class="box" tabindex="0" role="region" aria-label="Prompt">${esc(first.prompt)}</pre>`;
	const folded = first.prompt.length > longPrompt;
	const expected = group.find((sample) => sample.expected !== undefined)?.expected;
	const cards = group.map((sample) => answerCard(sample.stage, sample.output, sample.finishReason === "length"));
	if (expected !== undefined) cards.unshift(answerCard("expected", expected, false));
	return `<article class="panel sample"><h3>${esc(title)}</h3>
${folded ? `<details><summary>Prompt (${formatCount([...first.prompt].length)} characters)</summary>${prompt}</details>` : prompt}
<div class="grid">${cards.join("\n")}</div></article>`;
}

function answerCard(stage: string, text: string, overlong: boolean): string {
	const body = text === "" ? '<span class="empty">(empty)</span>' : esc(text);
	return `<div><div class="head"><h4>${esc(stage)}</h4>${overlong ? '<span class="badge warn">overlong</span>' : ""}</div><pre class="box${overlong ? " overlong" : ""}" tabindex="0" role="region" aria-label="${esc(`Answer, ${stage}`)}">${body}</pre></div>`;
}

const configSection = (report: RunReport): string =>
	`<section aria-labelledby="config"><h2 id="config">Configuration</h2>
<details class="panel"><summary>Resolved configuration, as YAML</summary><pre>${esc(report.configYaml)}</pre></details></section>`;
