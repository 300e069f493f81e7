/** Answers to rows: order of work, dialogues, going on after an interruption; by a model that answers with a fact about its prompt. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Model } from "../../src/engine/model.js";
import type { GenerateCallbacks, GenerateRow } from "../../src/engine/types.js";
import { answerRows } from "../../src/stages/answers.js";
import type { StageContext } from "../../src/stages/context.js";
import { readKeptAnswers } from "../../src/stages/kept_answers.js";
import { fittingPrompt, promptIds, shotsOf } from "../../src/stages/prompts.js";
import { type EvaluateConfig, evaluateSchema } from "../../src/stages/schema.js";
import { taskByName } from "../../src/tasks/registry.js";
import type { Task, TaskRow } from "../../src/tasks/task.js";
import type { Tokenizer } from "../../src/text/tokenizer.js";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fintune-answers-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const partial = () => join(folder, "checkpoints", "german.answers.jsonl");

/** A token a character. */
const tokenizer = {
	eosId: 0,
	encode: (text: string) => Array.from(text, (c) => c.codePointAt(0) as number),
	decode: (ids: ArrayLike<number>) => String.fromCodePoint(...Array.from(ids)),
} as unknown as Tokenizer;

/** Answers each prompt with its length and its stream, and stops working after `dies` answers. */
function modelOf({ dies = Number.POSITIVE_INFINITY }: { dies?: number } = {}) {
	const asked: string[] = [];
	const model = {
		config: { maxPositions: 4096 },
		stopIds: [0],
		async generate(rows: readonly GenerateRow[], _options: unknown, callbacks: GenerateCallbacks) {
			for (const [index, { inputIds, stream }] of rows.entries()) {
				if (asked.length >= dies) throw new Error("killed");
				asked.push(tokenizer.decode(inputIds as number[]));
				const outputIds = Int32Array.from(tokenizer.encode(`${inputIds.length}/${stream}`));
				callbacks.onFinished?.({ index, outputIds, finishReason: "stop" });
			}
		},
	} as unknown as Model;
	return { model, asked };
}

const logged: string[] = [];
const context = (identity = "one"): StageContext => {
	logged.length = 0;
	return {
		name: "check",
		folder,
		identity,
		seed: 1,
		dataDirs: [],
		progress: { update() {}, message() {}, end() {} },
		log: (message: string) => logged.push(message),
		now: () => 0,
	} as unknown as StageContext;
};
const config = (more: Partial<EvaluateConfig> = {}): EvaluateConfig =>
	evaluateSchema.parse({ name: "check", type: "evaluate", tasks: ["german"], ...more });
const rowOf = (query: string, doc: Record<string, unknown> = {}): TaskRow => ({
	query,
	answer: "good",
	doc,
	source: { file: "rows.jsonl", line: 1 },
});
const german = taskByName("german");
const rows = ["bb", "a", "dddd", "ccc", "eeeee"].map((query) => rowOf(query));
const ask = (model: Model, identity?: string, task: Task = german, asked: readonly TaskRow[] = rows) =>
	answerRows({ context: context(identity), model, tokenizer, task, config: config(), shots: [] }, asked);
const texts = (answers: Awaited<ReturnType<typeof ask>>): string[] => answers.map(({ outputIds }) => tokenizer.decode(outputIds));

describe("answers", () => {
	it("are asked for longest prompt first and come back in the rows' order, each with its own stream", async () => {
		const { model, asked } = modelOf();
		expect(texts(await ask(model))).toEqual(["2/0", "1/1", "4/2", "3/3", "5/4"]);
		expect(asked).toEqual(["eeeee", "dddd", "ccc", "bb", "a"]);
	});

	it.each([0, 1, 3, 4])("go on after an interruption behind %i answers, and end the same", async (dies) => {
		await expect(ask(modelOf({ dies }).model)).rejects.toThrow("killed");
		const { model, asked } = modelOf();
		expect(texts(await ask(model))).toEqual(["2/0", "1/1", "4/2", "3/3", "5/4"]);
		expect(asked).toHaveLength(5 - dies);
		if (dies > 0) expect(logged[0]).toContain(`${dies} of 5 answers are there already`);
	});

	it("of other work are not taken over", async () => {
		await expect(ask(modelOf({ dies: 3 }).model)).rejects.toThrow("killed");
		const { model, asked } = modelOf();
		await ask(model, "another model");
		expect(asked).toHaveLength(5);
	});

	it("are trusted line by line: of one written in part, or damaged, the row is answered again", async () => {
		await expect(ask(modelOf({ dies: 3 }).model)).rejects.toThrow("killed");
		truncateSync(partial(), readFileSync(partial()).length - 3);
		const cutShort = modelOf({ dies: 2 });
		await expect(ask(cutShort.model)).rejects.toThrow("killed");
		expect(cutShort.asked).toEqual(["ccc", "bb"]);
		expect(logged.join("\n")).not.toContain("damaged");
		const lines = readFileSync(partial(), "utf8").split("\n");
		writeFileSync(partial(), [lines[0], "\0\0\0", ...lines.slice(2)].join("\n"));
		const again = modelOf();
		expect(texts(await ask(again.model))).toEqual(["2/0", "1/1", "4/2", "3/3", "5/4"]);
		expect(again.asked).toEqual(["eeeee", "a"]);
		expect(logged.join("\n")).toContain(`${partial()}: 1 damaged lines, whose rows are answered again`);
	});

	it("with any bit flipped, or cut anywhere, are seen to be damaged: no other answer comes of it", async () => {
		await expect(ask(modelOf({ dies: 3 }).model)).rejects.toThrow("killed");
		const kept = readFileSync(partial());
		const header = JSON.parse(kept.toString("utf8", 0, kept.indexOf("\n")));
		const read = async (bytes: Uint8Array) => {
			writeFileSync(partial(), bytes);
			return readKeptAnswers(partial(), header);
		};
		const { answers: whole } = await read(kept);
		expect(whole.size).toBe(3);
		const expectSome = (answers: typeof whole, what: string) => {
			for (const [index, answer] of answers) expect(answer, what).toEqual(whole.get(index));
			expect(answers.size, what).toBeLessThan(3);
		};
		for (let bit = 0; bit < kept.length * 8; bit++) {
			const bytes = Buffer.from(kept);
			bytes[bit >> 3]! ^= 1 << (bit & 7);
			const { answers, unused } = await read(bytes);
			expectSome(answers, `bit ${bit}`);
			// Without the last newline the line before it counts as written in part.
			if (bit >> 3 < kept.length - 1) expect(unused, `bit ${bit}`).toMatch(/damaged/);
		}
		for (let length = 0; length < kept.length; length++)
			expectSome((await read(kept.subarray(0, length))).answers, `${length} bytes`);
	});

	it("to later turns of a dialogue come after the earlier ones, which stand in their prompts", async () => {
		const convfinqa = taskByName("convfinqa");
		const turns = [
			rowOf("x {answer0} {answer1}?", { dialogue_id: 7, turn: 2 }),
			rowOf("first?", { dialogue_id: 7, turn: 0 }),
			rowOf("then {answer0}?", { dialogue_id: 7, turn: 1 }),
			rowOf("other?", { dialogue_id: 8, turn: 0 }),
		];
		const { model, asked } = modelOf();
		const answers = await ask(model, "one", convfinqa, turns);
		expect(asked).toEqual(["first?", "other?", "then 6/1?", "x 6/1 9/2?"]);
		expect(answers.map(({ query }) => query)).toEqual(["x 6/1 9/2?", "first?", "then 6/1?", "other?"]);
	});
});

describe("prompts", () => {
	it("hold the examples with their answers, an empty line after each", () => {
		const shots = [
			{ query: "a?", answer: "b" },
			{ query: "c?", answer: "d" },
		];
		expect(tokenizer.decode(promptIds("q?", tokenizer, false, shots))).toBe("a? b\n\nc? d\n\nq?");
		expect(tokenizer.decode(promptIds("q?", tokenizer, false))).toBe("q?");
	});

	it("take examples from train by seed, and refuse what cannot be", async () => {
		const task = { ...german, load: async () => rows } as Task;
		const wanted = (more: Partial<EvaluateConfig>) => shotsOf(context(), task, config(more));
		expect(await wanted({})).toEqual([]);
		expect(await wanted({ num_fewshot: 2 })).toHaveLength(2);
		expect(await wanted({ num_fewshot: 2 })).toEqual(await wanted({ num_fewshot: 2 }));
		await expect(wanted({ num_fewshot: 6 })).rejects.toMatchObject({ code: "E_CONFIG" });
		await expect(wanted({ num_fewshot: 1, split: "train" })).rejects.toMatchObject({ code: "E_CONFIG" });
	});

	it("that are too long are refused, or lose their left end as the leaderboard's harness has it", () => {
		const ids = Array.from({ length: 3000 }, (_, i) => i);
		const fitted = (truncation: EvaluateConfig["prompt_truncation"], maxPositions: number) =>
			fittingPrompt(ids, { file: "f", line: 3 }, german, { maxPositions, maxNewTokens: 20, truncation });
		expect(fitted("refuse", 8192)).toEqual({ ids, cut: false });
		expect(() => fitted("refuse", 3019)).toThrow(/no room for 20 new tokens/);
		expect(fitted("leaderboard", 8192)).toEqual({ ids: ids.slice(3000 - 2028), cut: true });
		expect(fitted("leaderboard", 1024)).toEqual({ ids: ids.slice(3000 - 1004), cut: true });
		expect(() => fitted("leaderboard", 20)).toThrow(/no room/);
	});
});
