/**
 * Promotion at the end of real runs: what result.json, report and exit status say, and that a champion's folder gives way
 * to nothing.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { fintune, put } from "../cli/cli.js";
import { filesBelow } from "./interrupted.js";
import { pipelineText, tinyModel, tinyTaskData } from "./tiny.js";

let dir: string;
let runs: string;
/** A pipeline whose evaluation allows so many tokens: with too few of them no answer is whole. */
const pipeline = (tokens: number, more: object = {}): string =>
	put(
		join(dir, `p-${tokens}.yaml`),
		pipelineText(
			[
				{
					name: "sft",
					type: "sft",
					data: [{ task: "ner" }],
					lora: { r: 8, alpha: 32 },
					learning_rate: 0.02,
					batch_size: 6,
					max_steps: 60,
				},
				{ name: "final", type: "evaluate", tasks: ["ner"], max_new_tokens: tokens },
			],
			{ promote: { metric: "final.ner.entity_f1", significance: 1 }, keep: { runs: 5 }, ...more },
		),
	);
const run = (file: string, out: string) => fintune(["run", file, "--out", join(runs, out), "--json"]);
const json = (...parts: string[]) => JSON.parse(readFileSync(join(runs, ...parts), "utf8"));
const contents = (folder: string) =>
	Object.fromEntries(
		filesBelow(join(runs, folder))
			.filter((name) => !/^(\.lock|journal\.jsonl|status\.json|log\.jsonl)$/.test(name))
			.map((name) => [
				name,
				createHash("sha256")
					.update(readFileSync(join(runs, folder, name)))
					.digest("hex"),
			]),
	);

beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-promote-run-"));
	runs = join(dir, "runs");
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	const first = await run(pipeline(40), "day-1");
	expect(first.status, first.stderr).toBe(0);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("promotion at the end of a run", () => {
	it("makes the first run the champion", () => {
		expect(readlinkSync(join(runs, "champion"))).toBe("day-1");
		const { promotion, status } = json("day-1", "result.json");
		expect(status).toBe("done");
		expect(promotion).toMatchObject({ status: "promoted", champion: join(runs, "day-1") });
		expect(promotion.score).toBeGreaterThan(0);
		expect(existsSync(join(runs, "champion", "adapter", "adapter_model.safetensors"))).toBe(true);
	});

	it("ends with status 3 and the reason where the run is no better", async () => {
		const { status, stdout, stderr } = await run(pipeline(1), "day-2");
		expect(status).toBe(3);
		const result = JSON.parse(stdout);
		expect(result).toMatchObject({ status: "gate_not_passed", promotion: { status: "not_promoted", gain: expect.any(Number) } });
		expect(result.promotion.reason).toMatch(
			/^not promoted: no gain: final\.ner\.entity_f1 0\.000 against 0\.\d+ of the champion day-1/,
		);
		expect(stderr).toContain(`promote: ${result.promotion.reason}`);
		expect(readFileSync(join(runs, "day-2", "report.html"), "utf8")).toContain("not promoted: no gain");
		expect(readlinkSync(join(runs, "champion"))).toBe("day-1");
	});

	it("moves nothing where the champion's run is done already, and takes nothing away meanwhile", async () => {
		const before = contents("day-1");
		const { ino } = statSync(join(runs, "champion.jsonl"));
		const again = await run(pipeline(40), "day-1");
		expect(again.status).toBe(0);
		expect(JSON.parse(again.stdout).promotion).toMatchObject({ status: "champion" });
		const after = contents("day-1");
		for (const name of Object.keys(before).filter((n) => !/^(result\.json|report\.html)$/.test(n)))
			expect(after[name]).toBe(before[name]);
		expect(statSync(join(runs, "champion.jsonl")).ino).toBe(ino);
		expect(readFileSync(join(runs, "champion.jsonl"), "utf8").trimEnd().split("\n")).toHaveLength(1);
	});

	it("refuses other work in the champion's folder, which stays as it was", async () => {
		const before = contents("day-1");
		const other = await run(pipeline(2), "day-1");
		expect(other.status).toBe(73);
		expect(other.stderr).toContain("this run would take the place of the champion, which lies in this folder");
		expect(contents("day-1")).toEqual(before);
		// Nor does a pipeline that promotes nothing.
		expect((await run(pipeline(3, { promote: undefined }), "day-1")).status).toBe(73);
		expect(contents("day-1")).toEqual(before);
	});

	it("makes a damaged stage of the champion again, which is the same work", async () => {
		const file = join(runs, "day-1", "stages", "final", "generations", "ner.jsonl");
		const whole = readFileSync(file, "utf8");
		writeFileSync(file, whole.slice(0, -20));
		const challenger = await run(pipeline(1), "day-2");
		expect(challenger.status).toBe(65);
		expect(json("day-2", "result.json")).toMatchObject({ status: "failed", error: { code: "E_CHECKSUM" } });
		expect((await run(pipeline(40), "day-1")).status).toBe(0);
		expect(readFileSync(file, "utf8")).toBe(whole);
		expect((await run(pipeline(1), "day-2")).status).toBe(3);
	});

	it("applies keep: afterwards, to old runs but the champion", async () => {
		const third = await run(pipeline(2, { keep: { runs: 1 } }), "day-3");
		expect(third.status).toBe(3);
		expect(third.stderr).toMatch(/keep: deleted .*day-2 .*1 runs are newer, keep\.runs is 1/);
		expect(existsSync(join(runs, "day-2"))).toBe(false);
		expect(readlinkSync(join(runs, "champion"))).toBe("day-1");
		expect(existsSync(join(runs, "day-1", "result.json"))).toBe(true);
		expect(readFileSync(join(runs, "day-3", "journal.jsonl"), "utf8")).toMatch(/"event":"deleted","run":".*day-2"/);
	});

	it("is announced by fintune plan, and has its place in the JSON Schema", async () => {
		const plan = await fintune(["plan", pipeline(40)]);
		expect(plan.stdout).toMatch(/promote: moves the link champion beside the run here where final\.ner\.entity_f1 is better/);
		expect(plan.stdout).toContain("keep: deletes runs of this pipeline beside this one beyond 5 runs");
		const schema = JSON.parse((await fintune(["plan", "--schema"])).stdout);
		expect(Object.keys(schema.properties.promote.properties)).toContain("min_gain");
		expect(parse(readFileSync(join(runs, "day-1", "config.resolved.yaml"), "utf8")).keep).toEqual({ runs: 5 });
	});
});
