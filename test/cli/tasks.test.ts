/** `fintune tasks` and `fintune tasks show` through the real command line. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fintune, lines, put } from "./cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-tasks-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
/** No data but those of the package and of `dir`. */
const env = { FINTUNE_DATA: "", XDG_DATA_HOME: join(dir, "home") };
const run = (...args: string[]) => fintune(["tasks", ...args], { env });

interface Listed {
	tasks: { name: string; status: string; rows: Record<string, number>; boardRows: Record<string, number>; hub: string }[];
	unsupported: { number?: number; name: string; reason: string }[];
}

describe("fintune tasks", () => {
	it("lists 41 tasks: 40 with their status, and why the other is not there", async () => {
		const { status, stdout, stderr } = await run("--json");
		expect(status, stderr).toBe(0);
		const { tasks, unsupported } = JSON.parse(stdout) as Listed;
		expect(tasks.length + unsupported.filter(({ number }) => number !== undefined).length).toBe(41);
		const statusOf = (name: string) => tasks.find((task) => task.name === name)?.status;
		expect([statusOf("ner"), statusOf("sc"), statusOf("german")]).toEqual(["here", "here", "here"]);
		expect([statusOf("fpb"), statusOf("multifin"), statusOf("cd")]).toEqual(["importable", "importable", "importable"]);
		expect([statusOf("fnxl"), statusOf("polish"), statusOf("efp")]).toEqual(["hub", "hub", "hub"]);
		expect(tasks.find(({ name }) => name === "ner")).toMatchObject({
			rows: { train: 408, valid: 103, test: 98 },
			boardRows: { train: 408, valid: 103, test: 98 },
			hub: "TheFinAI/flare-ner",
		});
		expect(unsupported.map(({ name }) => name)).toEqual(["Regulations", "FinTrade"]);
	});

	it("for people: one line a task, and the two that are not supported", async () => {
		const { status, stdout } = await run();
		expect(status).toBe(0);
		expect(stdout).toMatch(/^ner +NER +IE +entity_f1 +408\/103\/98/m);
		expect(stdout).toMatch(/^fnxl .*from the hub \(may be gated\)/m);
		expect(stdout).toMatch(/^FinTrade is not supported: it is a trading simulation/m);
		expect(stdout.split("\n").filter((line) => / (?:TA|IE|QA|TG|FO|RM|ES) /.test(line)).length).toBe(40);
	});

	it("finds rows that were put into a folder", async () => {
		const row = { query: "Which?\nAnswer:", answer: "B", choices: ["A", "B", "C"], gold: 1 };
		put(join(dir, "data/efp/test.jsonl"), lines([row, row]));
		const { stdout } = await run("show", "ES_EFP", "--json", "--data", join(dir, "data"));
		expect(JSON.parse(stdout)).toMatchObject({
			name: "efp",
			status: "here",
			rows: { test: 2 },
			example: { split: "test", query: row.query, answer: "B" },
		});
	});
});

describe("fintune tasks show", () => {
	it("explains NER: a real prompt, the rule, its traps, what is trivial", async () => {
		const { status, stdout, stderr } = await run("show", "NER");
		expect(status, stderr).toBe(0);
		expect(stdout).toMatch(/^board +NER \(flare_ner, number 11, information extraction\), hub TheFinAI\/flare-ner$/m);
		expect(stdout).toMatch(/^licence +CC-BY-3\.0$/m);
		expect(stdout).toMatch(/^answer +lines "name, TYPE" .*at most 256 tokens$/m);
		expect(stdout).toMatch(/^ +trap +an entity that ends at the last word is lost$/m);
		expect(stdout).toMatch(/^trivial .*0\.832/m);
		expect(stdout).toMatch(/In the sentences extracted from financial agreements[\s\S]*\nAnswer:\nanswer: /);
	});

	it.each([
		["FiQA-SA", "fiqasa", 0.45],
		["headlines", "headlines", 0.6],
		["polish", "polish", 0],
	])("%s without data: where they are to be had, and the known value of a constant answer", async (given, name, value) => {
		const { status, stdout } = await run("show", given, "--json");
		expect(status).toBe(0);
		const shown = JSON.parse(stdout) as { name: string; howToGet: string; knownBaselines: { value: number }[]; scoring: object };
		expect(shown.name).toBe(name);
		expect(shown.howToGet.length).toBeGreaterThan(20);
		expect(shown.knownBaselines[0]?.value).toBe(value);
		expect(shown.scoring).toMatchObject({ strict: expect.stringContaining("</think>") });
	});

	it("names the nearest task, or the reason why there is none", async () => {
		const wrong = await run("show", "MultiFim-ES");
		expect(wrong.status).toBe(64);
		expect(wrong.stderr).toContain('did you mean "MultiFin-ES"?');
		const board = await run("show", "causal20_s");
		expect(board.stderr).toContain('did you mean "causal20_sc"?');
		const none = await run("show", "regulations");
		expect(none.status).toBe(64);
		expect(none.stderr).toContain("neither its data set nor its code is public");
	});
});
