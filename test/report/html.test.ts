import { describe, expect, it } from "vitest";
import { lossChart, metricChart, overlongChart, rewardChart, taskChart } from "../../src/report/charts.js";
import { renderReport } from "../../src/report/html.js";
import { chartColours, darkChartColours, escapeMarkup } from "../../src/report/svg.js";
import { taskHistories } from "../../src/report/table.js";
import type { RunReport } from "../../src/report/types.js";
import { exampleEvaluation, exampleReport, exampleTraining, hostileOutput } from "./example.js";

/** Names of elements that are opened and never closed, or closed and never opened. */
function unbalanced(markup: string): string[] {
	const open: string[] = [];
	const problems: string[] = [];
	for (const [, close, name = "", rest = ""] of markup.matchAll(/<(\/?)([a-zA-Z][\w-]*)((?:[^<>"]|"[^"]*")*)>/g)) {
		if (["meta", "link", "br"].includes(name) || rest.endsWith("/")) continue;
		if (!close) open.push(name);
		else if (open.pop() !== name) problems.push(name);
	}
	return [...problems, ...open];
}

const emptyReport: RunReport = {
	name: "",
	status: "failed",
	model: "tiny",
	device: "cpu",
	dtype: "f32",
	stages: [],
	training: [],
	evaluations: [],
	samples: [],
	configYaml: "",
	versions: {},
};

const html = renderReport(exampleReport());

describe("renderReport", () => {
	it("gives the same bytes for the same run, whatever was drawn before", () => {
		renderReport(emptyReport);
		expect(renderReport(exampleReport()) === html).toBe(true);
	});

	it("is one well-formed file without script or external resource", () => {
		for (const page of [html, renderReport(emptyReport)]) {
			expect(unbalanced(page)).toEqual([]);
			expect(page.match(/<script|<img|<iframe|@import|url\((?!#)|\son\w+\s*=\s*"/i)).toBeNull();
			const loaded = [...page.matchAll(/\s(?:src|href|action|data|xlink:href)="([^"]*)"/g)].map((match) => match[1]);
			expect(loaded).toEqual(["data:,"]);
			expect(page).toContain("default-src 'none'");
		}
	});

	it("escapes what models and files contain", () => {
		expect(html.includes(escapeMarkup(hostileOutput))).toBe(true);
		expect(html.match(/[\x00-\x08\x0b-\x1f]/)).toBeNull();
		for (const raw of [hostileOutput, "<sons>", "<risk>", "<this>", "<b>", "<&>"]) expect(html.includes(raw), raw).toBe(false);
	});

	it("uses every id once", () => {
		const ids = [...html.matchAll(/\sid="([^"]*)"/g)].map((match) => match[1]);
		expect(new Set(ids).size).toBe(ids.length);
	});

	it("says what a reader looks for: status, scores with interval and floor, overlong before and after, config", () => {
		const report = exampleReport();
		const ner = report.evaluations[2]?.tasks[0];
		if (ner?.score == null || ner.low === undefined || ner.high === undefined) throw new Error("the example has no NER score");
		expect(html).toContain(`${ner.score.toFixed(3)}<small>[${ner.low.toFixed(3)}, ${ner.high.toFixed(3)}]</small>`);
		expect(html).toContain("train lexicon");
		expect(html).toContain(`${(ner.overlong * 100).toFixed(1)} %`);
		expect(html).toContain("no chain of thought agreed over 4 samples");
		expect(html.match(/class="badge warn">overlong/g)).toHaveLength(2);
		expect(html).toContain(escapeMarkup(report.configYaml));
	});

	it("shows the other way of scoring beside the chosen one", () => {
		const evaluation = exampleEvaluation("before", 0.2, 0.1, 1);
		const tasks = evaluation.tasks.map((task) => ({ ...task, otherScoring: { name: "strict" as const, score: 0.123 } }));
		expect(renderReport({ ...emptyReport, evaluations: [{ ...evaluation, tasks }] })).toContain("<small>strict 0.123</small>");
	});

	it("stays small at the size of the whole board and of a long run", () => {
		const evaluations = ["before", "sft", "dpo", "final"].map((stage, i) => {
			const { tasks } = exampleEvaluation(stage, 0.2 * i, 0.1, i);
			return {
				stage,
				tasks: Array.from({ length: 41 }, (_, t) => ({ ...(tasks[t % 7] as (typeof tasks)[number]), task: `t${t}` })),
			};
		});
		const training = [1, 2, 3].map((seed) => exampleTraining(`s${seed}`, "dpo", 5000, seed));
		const page = renderReport({ ...emptyReport, evaluations, training });
		expect(page.match(/<svg /g)).toHaveLength(41 + 1 + 3 * 4);
		expect(page.length).toBeLessThan(1_500_000);
	});

	it("shows a broken run too: no evaluation, losses that are not numbers, one step", () => {
		const one = exampleTraining("sft", "sft", 1, 1);
		const broken = exampleTraining("bad", "sft", 30, 1);
		for (const row of broken.rows.slice(10)) row.loss = Number.NaN;
		const page = renderReport({ ...emptyReport, training: [one, broken] });
		expect(page.includes("NaN")).toBe(true);
		expect(page.match(/d="[^"]*NaN/)).toBeNull();
		expect(unbalanced(page)).toEqual([]);
	});
});

describe("charts", () => {
	const evaluations = [exampleEvaluation("before", 0.3, 0.3, 1), exampleEvaluation("final", 0.7, 0.01, 2)];
	const history = taskHistories(evaluations)[0];
	if (!history) throw new Error("the example has no task");
	const training = exampleTraining("dpo", "dpo", 40, 3);
	const drawn: Record<string, string> = {
		loss: lossChart(training, "a"),
		reward: rewardChart(training, "b"),
		metric: metricChart(training, "grad_norm", "gradient norm", "c"),
		task: taskChart(history, evaluations, "d"),
		overlong: overlongChart(evaluations, "e"),
	};

	it.each(Object.entries(drawn))(
		"%s stands alone: sized by its view box, labelled, no style sheet, colours that follow the page",
		(_name, svg) => {
			expect(svg).toMatch(/^<svg xmlns="[^"]+" viewBox="0 0 480 \d+" role="img" aria-label="[^"]{20,}">/);
			expect(unbalanced(svg)).toEqual([]);
			expect(svg).not.toMatch(/<style|<script|class=|ecmeta|\bzr\d/);
			const visible = svg.replaceAll('fill="rgb(0,0,0)" fill-opacity="0"', "");
			const colours = [...visible.matchAll(/(?:fill|stroke)="([^"]*)"/g)].map((match) => match[1] ?? "");
			const foreign = colours.filter((colour) => !/^(none|var\(--chart-\w+, #[0-9a-f]{6}\))$/.test(colour));
			// Clip paths and the hollow of a marker are drawn by the library in black and white.
			expect(foreign.filter((colour) => colour !== "#000" && colour !== "#fff")).toEqual([]);
		},
	);

	it("draws one bar for each evaluation and three lines for each whisker at the right places", () => {
		const svg = drawn.task as string;
		const bars = [...svg.matchAll(/<path d="M([\d.]+) [\d.]+[^"]*" fill="var\(--chart-[01]/g)];
		expect(bars).toHaveLength(2);
		const horizontal = [...svg.matchAll(/d="M([\d.]+) ([\d.]+)L([\d.]+) \2" fill="none" stroke="var\(--chart-ink/g)];
		expect(horizontal).toHaveLength(2);
		const plot = 480 - 132 - 58;
		for (const [i, match] of horizontal.entries()) {
			const result = history.results[i];
			if (result?.low === undefined || result.high === undefined) throw new Error("no interval");
			expect(Number(match[1])).toBeCloseTo(132 + result.low * plot, 0);
			expect(Number(match[3])).toBeCloseTo(132 + result.high * plot, 0);
		}
	});

	it("keeps every spike of a long run and stays small", () => {
		const long = exampleTraining("sft", "sft", 20_000, 5);
		const spike = long.rows[12_345];
		if (!spike) throw new Error("no row");
		spike.grad_norm = 1e6;
		const svg = metricChart(long, "grad_norm", "gradient norm", "x");
		expect(svg).toContain("highest 1.000e+6");
		expect(svg.length).toBeLessThan(40_000);
		const heights = [
			...(svg.match(/d="(M[^"]*)" fill="none" stroke="var\(--chart-4/)?.[1] ?? "").matchAll(/[ML]?[\d.]+ ([\d.]+)/g),
		].map((m) => Number(m[1]));
		expect(Math.min(...heights)).toBeLessThan(40);
		expect(Math.max(...heights)).toBeGreaterThan(120);
	});

	it("is empty where there is nothing to draw", () => {
		const none = { ...training, rows: [] };
		expect([
			lossChart(none, "a"),
			rewardChart(none, "b"),
			metricChart(none, "loss", "loss", "c"),
			overlongChart([], "d"),
		]).toEqual(["", "", "", ""]);
	});

	it("has a dark twin for every colour", () => {
		expect(Object.keys(darkChartColours)).toEqual(Object.keys(chartColours));
		expect(new Set(Object.values(chartColours)).size).toBe(Object.keys(chartColours).length);
	});
});
