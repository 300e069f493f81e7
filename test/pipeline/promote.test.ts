import { spawn } from "node:child_process";
import {
	existsSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	rmSync,
	symlinkSync,
	unlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Champion, type ChampionMove, championStack, rolledBack } from "../../src/pipeline/champion/champion.js";
import { type Challenger, promote } from "../../src/pipeline/champion/promote.js";
import { findChampion, rollBack, setChampion } from "../../src/pipeline/champion/rollback.js";
import { parsePipeline } from "../../src/pipeline/config.js";
import { lockRunFolder } from "../../src/pipeline/lock.js";
import type { PromoteConfig } from "../../src/pipeline/schema.js";
import { put } from "../cli/cli.js";
import { root } from "../repository.js";
import { type FinishedRun, finishedRun } from "./finished_runs.js";
import { pipelineText } from "./tiny.js";

let base: string;
/** A folder of runs of its own for each test. */
let dir: string;
let count = 0;
beforeAll(() => {
	base = mkdtempSync(join(tmpdir(), "fintune-promote-"));
});
beforeEach(() => {
	dir = join(base, `runs-${++count}`);
	mkdirSync(dir);
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const link = (): string => join(dir, "champion");
const history = (): ChampionMove[] =>
	readFileSync(join(dir, "champion.jsonl"), "utf8")
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
const run = (name: string, right: number, more: object = {}): Promise<FinishedRun> => finishedRun(join(dir, name), right, more);

let told: string[] = [];
const progress = { message: (line: string) => void told.push(line) };
const pipelineOf = (config: object) =>
	parsePipeline(
		pipelineText([{ name: "final", type: "evaluate", tasks: ["german"] }], {
			name: "nightly",
			promote: { metric: "final.german.acc", ...config },
		}),
		join(base, "p.yaml"),
	);
/** Lets a finished run ask to be promoted, as the end of `fintune run` does. */
function challenge({ folder, record }: FinishedRun, config: Partial<PromoteConfig> = {}, more: Partial<Challenger> = {}) {
	told = [];
	const pipeline = pipelineOf(config);
	return promote(
		{ pipeline, folder, record: () => record, gateFailures: [], settle: async () => {}, progress, ...more },
		pipeline.config.promote!,
	);
}

describe("the history of a champion", () => {
	const move = (event: ChampionMove["event"], name: string, identity = name): ChampionMove => ({
		time: `2026-11-${event}`,
		event,
		run: name,
		previous: null,
		identity,
	});
	const names = (moves: ChampionMove[]): string[] => championStack(moves).map((m) => m.run);

	it("is a stack: a rollback takes the last one away, a second one the one before", () => {
		const moves = [move("first", "a"), move("promoted", "b"), move("promoted", "c")];
		expect(names(moves)).toEqual(["a", "b", "c"]);
		expect(names([...moves, move("rollback", "b")])).toEqual(["a", "b"]);
		expect(names([...moves, move("rollback", "b"), move("rollback", "a")])).toEqual(["a"]);
		expect(names([...moves, move("rollback", "b"), move("promoted", "d")])).toEqual(["a", "b", "d"]);
		expect(names([...moves, move("set", "c")])).toEqual(["a", "b", "c"]);
	});

	it("knows what was rolled back, until it is champion again", () => {
		const moves = [move("first", "a"), move("promoted", "b"), move("rollback", "a")];
		expect(rolledBack(moves, "b")).toBe(moves[2]);
		expect(rolledBack(moves, "a")).toBeUndefined();
		expect(rolledBack([...moves, move("set", "b")], "b")).toBeUndefined();
		expect(rolledBack([...moves, move("promoted", "c")], "b")).toBe(moves[2]);
	});
});

describe("promotion", () => {
	it("makes the first run the champion, and says so in link, history and journal", async () => {
		const first = await run("2026-11-24", 40);
		const decided = await challenge(first);
		expect(decided).toMatchObject({ status: "promoted", champion: join(dir, "2026-11-24"), score: 40 / 60 });
		expect(decided.reason).toBe("promoted: the first champion, final.german.acc = 0.667");
		expect(told).toEqual([`promote: ${decided.reason}`]);
		expect(readlinkSync(link())).toBe("2026-11-24");
		expect(history()).toMatchObject([{ event: "first", run: "2026-11-24", previous: null, metric: "final.german.acc" }]);
		expect((await first.folder.events()).at(-1)).toMatchObject({ event: "promotion", status: "promoted", link: link() });
		expect(readdirSync(dir).sort()).toEqual([".champion.lock", "2026-11-24", "champion", "champion.jsonl"]);
	});

	it("moves the link for a significant gain, with interval and p in the history", async () => {
		await challenge(await run("a", 30));
		const decided = await challenge(await run("b", 50));
		expect(decided).toMatchObject({ status: "promoted", champion: join(dir, "b") });
		expect(decided.reason).toMatch(
			/^promoted: final\.german\.acc 0\.833 against 0\.500 of the champion a \(\+0\.333, 95 % interval /,
		);
		expect(readlinkSync(link())).toBe("b");
		const [, last] = history();
		expect(last).toMatchObject({ event: "promoted", run: "b", previous: "a" });
		expect(last!.gain).toBeCloseTo(20 / 60);
		expect(last!.p).toBeLessThan(0.05);
		expect(last!.low).toBeGreaterThan(0);
	});

	it.each([
		["an insignificant gain", 31, {}, /the gain is not significant at 0\.05: .* p = /],
		["no gain", 30, {}, /no gain: .*p = 1\.000/],
		["a loss, however significant", 5, {}, /no gain: .*p < 0\.001/],
		["a gain below min_gain", 50, { min_gain: 0.5 }, /smaller than min_gain 0\.5/],
		["a level that is not reached", 38, { significance: 0.001 }, /not significant at 0\.001/],
	])("does not for %s", async (_, right, config, reason) => {
		await challenge(await run("a", 30));
		const decided = await challenge(await run("b", right), config);
		expect(decided).toMatchObject({ status: "not_promoted", champion: join(dir, "a") });
		expect(decided.reason).toMatch(reason);
		expect(readlinkSync(link())).toBe("a");
		expect(history()).toHaveLength(1);
	});

	it("takes a fall of a metric of errors for the gain", async () => {
		const metric = { metric: "final.german.strict_missing" };
		const first = await run("a", 30);
		await challenge(first, metric);
		const second = await run("b", 30);
		const file = join(dir, "a", "stages", "final", "generations", "german.jsonl");
		writeFileSync(file, readFileSync(file, "utf8").replaceAll(/"output":"\w+"/g, '"output":"who knows"'));
		await first.folder.finish(first.record);
		const decided = await challenge(second, metric);
		expect(decided).toMatchObject({ status: "promoted", gain: 1 });
	});

	it("scores as the metric's name says: strict_ for the corrected rules", async () => {
		await challenge(await run("a", 30), { metric: "final.german.strict_acc" });
		expect(await challenge(await run("b", 50), { metric: "final.german.strict_acc" })).toMatchObject({ status: "promoted" });
	});

	it("leaves a champion that is run again alone", async () => {
		const first = await run("a", 30);
		await challenge(first);
		expect(await challenge(first)).toMatchObject({ status: "champion", reason: "this run is the champion; nothing moves" });
		expect(history()).toHaveLength(1);
	});

	it("is refused to a run whose gate was not passed, or whose evaluation was skipped", async () => {
		const first = await run("a", 60);
		expect((await challenge(first, {}, { gateFailures: ["final: gate not passed: x"] })).reason).toMatch(/gate not passed/);
		const skipped = { ...first.record, outcome: { status: "skipped" as const, metrics: {} } };
		expect((await challenge(first, {}, { record: () => skipped })).reason).toBe("not promoted: final was skipped");
		expect(existsSync(link())).toBe(false);
	});

	it("settles the run before the link leads to it", async () => {
		const order: string[] = [];
		const settle = async () => void order.push(existsSync(link()) ? "link first" : "settled first");
		await challenge(await run("a", 30), {}, { settle });
		expect(order).toEqual(["settled first"]);
	});

	it("can be against a run of one's choice", async () => {
		await run("reference", 30);
		await challenge(await run("a", 20));
		const decided = await challenge(await run("b", 50), { against: join(dir, "reference") });
		expect(decided).toMatchObject({ status: "promoted", gain: expect.closeTo(20 / 60) });
		await expect(challenge(await run("c", 50), { against: join(dir, "nowhere") })).rejects.toMatchObject({
			code: "E_NOT_FOUND",
			where: join(dir, "nowhere"),
		});
	});

	it("can move a link elsewhere", async () => {
		const place = join(base, "serving", "ner");
		const decided = await challenge(await run("a", 30), { champion: place });
		expect(decided.link).toBe(place);
		expect(readlinkSync(place)).toBe(join(dir, "a"));
		expect(existsSync(`${place}.jsonl`)).toBe(true);
		expect(existsSync(link())).toBe(false);
	});
});

describe("a champion that cannot be compared with", () => {
	const unmoved = async (error: Promise<unknown>, expected: object): Promise<void> => {
		const before = { link: lstatSync(link(), { throwIfNoEntry: false }) && readlinkSync(link()), history: history() };
		await expect(error).rejects.toMatchObject(expected);
		expect(lstatSync(link(), { throwIfNoEntry: false }) && readlinkSync(link())).toBe(before.link);
		expect(history()).toEqual(before.history);
	};

	it("that is damaged is an error that names the file", async () => {
		await challenge(await run("a", 30));
		const file = join(dir, "a", "stages", "final", "generations", "german.jsonl");
		writeFileSync(file, readFileSync(file, "utf8").replace('"output":"good"', '"output":"bad!"'));
		await unmoved(challenge(await run("b", 50)), { code: "E_CHECKSUM", where: file });
	});

	it("whose folder is gone, or whose link is, is an error that says how to go on", async () => {
		const hint = expect.stringContaining("fintune champion set RUN");
		await challenge(await run("a", 30));
		rmSync(join(dir, "a"), { recursive: true });
		await unmoved(challenge(await run("b", 50)), { code: "E_NOT_FOUND", where: link(), hint });
		unlinkSync(link());
		await unmoved(challenge(await run("c", 50)), { code: "E_NOT_FOUND", found: "no link", hint });
	});

	it("that has not ended is one, too", async () => {
		await challenge(await run("a", 30));
		rmSync(join(dir, "a", "result.json"));
		await unmoved(challenge(await run("b", 50)), { code: "E_NOT_FOUND", found: "no result.json" });
	});

	it("that answered other documents is one, too", async () => {
		await challenge(await run("a", 30, { docs: 59 }));
		await unmoved(challenge(await run("b", 50)), {
			code: "E_SCORING",
			found: expect.stringMatching(/^0 only in .*, 1 only in /),
		});
	});

	it("that is no link stays what it is", async () => {
		mkdirSync(link());
		await expect(challenge(await run("a", 30))).rejects.toMatchObject({ code: "E_CANNOT_CREATE", where: link() });
	});

	it("that a run holds at the moment is waited for", async () => {
		await challenge(await run("a", 30));
		const lock = await lockRunFolder(join(dir, "a"));
		const waiting = challenge(await run("b", 50));
		await new Promise((done) => setTimeout(done, 300));
		expect(readlinkSync(link())).toBe("a");
		lock.release();
		expect(await waiting).toMatchObject({ status: "promoted" });
	});
});

describe("rollback", () => {
	/** a, b and c, each better than the one before. */
	async function threeChampions(): Promise<void> {
		for (const [name, right] of [
			["a", 10],
			["b", 30],
			["c", 50],
		] as const)
			await challenge(await run(name, right));
	}

	it("goes back champion by champion, and says when there is none left", async () => {
		await threeChampions();
		const champion = new Champion(link());
		expect(await rollBack(champion, progress.message)).toMatchObject({ event: "rollback", run: "b", previous: "c" });
		expect(readlinkSync(link())).toBe("b");
		expect(await rollBack(champion, progress.message)).toMatchObject({ run: "a", previous: "b" });
		await expect(rollBack(champion, progress.message)).rejects.toMatchObject({ code: "E_NOT_FOUND", found: "a, the first one" });
		expect(readlinkSync(link())).toBe("a");
		expect(history().map((m) => `${m.event} ${m.run}`)).toEqual([
			"first a",
			"promoted b",
			"promoted c",
			"rollback b",
			"rollback a",
		]);
	});

	it("refuses a run before that was deleted or is damaged", async () => {
		await threeChampions();
		const champion = new Champion(link());
		writeFileSync(join(dir, "b", "stages", "final", "stage.json"), "{}");
		await expect(rollBack(champion, progress.message)).rejects.toMatchObject({ code: "E_CHECKSUM" });
		rmSync(join(dir, "b"), { recursive: true });
		await expect(rollBack(champion, progress.message)).rejects.toMatchObject({ code: "E_NOT_FOUND", where: join(dir, "b") });
		expect(readlinkSync(link())).toBe("c");
		expect(await setChampion(champion, join(dir, "a"), progress.message)).toMatchObject({
			event: "set",
			run: "a",
			previous: "c",
		});
	});

	it("leads out of a champion whose folder is gone", async () => {
		for (const [name, right] of [
			["a", 10],
			["b", 30],
		] as const)
			await challenge(await run(name, right));
		rmSync(join(dir, "b"), { recursive: true });
		await rollBack(new Champion(link()), progress.message);
		expect(readlinkSync(link())).toBe("a");
	});

	it("is not undone by the next run of the same pipeline", async () => {
		await challenge(await run("a", 10));
		const second = await run("b", 50);
		await challenge(second);
		await rollBack(new Champion(link()), progress.message);
		const again = await challenge(second);
		expect(again).toMatchObject({ status: "not_promoted", champion: join(dir, "a") });
		expect(again.reason).toMatch(/^not promoted: it was rolled back at 20.*fintune champion set/);
		await setChampion(new Champion(link()), join(dir, "b"), progress.message);
		expect(await challenge(second)).toMatchObject({ status: "champion" });
	});
});

describe("a kill in the middle of a move", () => {
	it("after the link and before the history: the move is taken up with what decided it, and told", async () => {
		await challenge(await run("a", 10));
		await challenge(await run("b", 50));
		const [first, second] = history();
		writeFileSync(join(dir, "champion.jsonl"), `${JSON.stringify(first)}\n${JSON.stringify(second).slice(0, 40)}`);
		expect(await challenge(await run("c", 51))).toMatchObject({ status: "not_promoted", champion: join(dir, "b") });
		expect(told).toContainEqual(expect.stringMatching(/champion\.jsonl: its torn last line was dropped/));
		expect(told).toContainEqual(expect.stringMatching(/leads to b, which its history did not know: written down as promoted/));
		const { time: _then, ...facts } = second!;
		expect(history()[1]).toMatchObject({ ...facts, recovered: true });
	});

	it("of the first champion of all: it is not an empty place", async () => {
		await challenge(await run("a", 10));
		rmSync(join(dir, "champion.jsonl"));
		await challenge(await run("b", 11));
		expect(history()).toMatchObject([{ event: "first", run: "a", recovered: true }]);
	});

	it("of a rollback: it is taken up as one", async () => {
		await challenge(await run("a", 10));
		await challenge(await run("b", 50));
		unlinkSync(link());
		symlinkSync("a", link());
		expect(await challenge(await run("c", 11))).toMatchObject({ status: "not_promoted" });
		expect(history()[2]).toMatchObject({ event: "rollback", run: "a", previous: "b", recovered: true });
	});

	it("before the link: nothing has moved, and the half-made link is cleared away", async () => {
		await challenge(await run("a", 10));
		symlinkSync("b", join(dir, ".champion.4242.0123abcd.tmp"));
		await challenge(await run("b", 11));
		expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
	});

	it("takes a link that somebody moved by hand for the truth", async () => {
		await challenge(await run("a", 10));
		await run("mine", 20);
		unlinkSync(link());
		symlinkSync(join(dir, "mine"), link());
		await challenge(await run("b", 21));
		expect(history()[1]).toMatchObject({ event: "found", run: "mine", previous: "a" });
	});

	it("kill -9 at any instant leaves a champion that is there and a history that can be put in step", async () => {
		await run("a", 10);
		await run("b", 20);
		const script = put(
			join(dir, "move.mjs"),
			`import { Champion } from ${JSON.stringify(join(root, "dist", "pipeline", "champion", "champion.js"))};
			import { setChampion } from ${JSON.stringify(join(root, "dist", "pipeline", "champion", "rollback.js"))};
			const champion = new Champion(process.argv[2]);
			for (let i = 0; ; i++) {
				await setChampion(champion, process.argv[3 + (i % 2)], () => {});
				if (i === 0) process.stdout.write("moving");
			}`,
		);
		let moves = 0;
		for (let kill = 0; kill < 12; kill++) {
			await new Promise<void>((done) => {
				const child = spawn(process.execPath, [script, link(), join(dir, "a"), join(dir, "b")]);
				child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), (kill * 37) % 101));
				child.on("close", () => done());
			});
			expect(["a", "b"]).toContain(readlinkSync(link()));
			const { lock, state } = await new Champion(link()).hold(() => {});
			lock.release();
			expect(championStack(state.moves).at(-1)!.run).toBe(readlinkSync(link()));
			expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
			expect(state.moves.length).toBeGreaterThan(moves);
			moves = state.moves.length;
		}
	});
});

describe("two runs that end at once", () => {
	it("are compared one after the other: the second with the first", async () => {
		await challenge(await run("a", 10));
		const [b, c] = [await run("b", 40), await run("c", 60)];
		const both = await Promise.all([challenge(b), challenge(c)]);
		const stack = championStack(history()).map((m) => m.run);
		expect(stack.at(-1)).toBe("c");
		expect(readlinkSync(link())).toBe("c");
		expect(both[1]).toMatchObject({ status: "promoted" });
		// Whoever came first was held against a, the other one against it.
		expect(history().map((m) => m.previous)).toEqual([null, ...stack.slice(0, -1)]);
	});
});

describe("the champion that a path means", () => {
	it("is the link, the one in the folder, or the only one below", async () => {
		const runs = join(dir, "nightly");
		await setChampion(Champion.beside(join(runs, "a")), (await finishedRun(join(runs, "a"), 1)).folder.path, () => {});
		for (const path of [join(runs, "champion"), runs, dir]) expect((await findChampion(path)).link).toBe(join(runs, "champion"));
		await expect(findChampion(join(runs, "a"))).rejects.toMatchObject({ code: "E_NOT_FOUND" });
		await finishedRun(join(dir, "weekly", "a"), 1);
		await setChampion(Champion.beside(join(dir, "weekly", "a")), join(dir, "weekly", "a"), () => {});
		await expect(findChampion(dir)).rejects.toMatchObject({ code: "E_USAGE", found: expect.stringContaining("weekly") });
	});
});

describe("promote: and keep: in a pipeline file", () => {
	const errorOf = (config: object): string => {
		try {
			pipelineOf(config);
			return "";
		} catch (error) {
			return (error as Error).message;
		}
	};

	it.each([
		[{ metric: "finale.german.acc" }, 'no earlier stage is called "finale"', 'did you mean "final"?'],
		[{ metric: "final.ner.acc" }, '"final" does not evaluate the task "ner"', "german"],
		[{ metric: "final.german.ac" }, 'task german has no metric "ac"', 'did you mean "acc"?'],
		[{ metric: "final.overlong" }, "promote.metric has a wrong value", "stage.task.metric"],
		[{ metric: "final.german.overlong" }, "overlong is no score of a task", "gate:"],
		[{ min_gains: 0.1 }, 'unknown key "min_gains" in promote', 'did you mean "min_gain"?'],
		[{ significance: 5 }, "promote.significance has a wrong value", "p.yaml"],
	])("%j is an error with its place", (config, message, more) => {
		const text = errorOf(config);
		expect(text).toMatch(/p\.yaml:\d+:\d+: /);
		expect(text).toContain(message);
		expect(text).toContain(more);
	});

	it("may read a test split, and takes the defaults of the field", () => {
		expect(pipelineOf({}).config.promote).toEqual({
			metric: "final.german.acc",
			against: "champion",
			min_gain: 0,
			significance: 0.05,
		});
	});
});
