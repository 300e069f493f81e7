/**
 * Test texts among the rows of training stages: every source is compared with the test splits of all tasks whose data are
 * in the run's data folders (`tasks/held_out.ts`), once a run.
 * @module
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { type MatchKind, matchKinds } from "../data/decontaminate.js";
import { expandPattern } from "../data/glob.js";
import { type RawRow, readRows } from "../data/readers.js";
import { parseRow, type RowKind } from "../data/rows.js";
import { hashFile } from "../engine/files.js";
import { cached, userCacheFolder } from "../engine/user_cache.js";
import { FintuneError } from "../errors.js";
import { comparedText, comparedTexts, HeldOut, type Hit, loosestMatch, promptTexts, stricter } from "../tasks/held_out.js";
import type { Split, Task, TaskRow } from "../tasks/task.js";
import { codeIdentity } from "../version.js";

/** Rows of a stage by how they repeat a test text. */
export class LeakTally {
	readonly #counts: Record<MatchKind, number> = { exact: 0, normalised: 0, near: 0 };
	/** Whether such rows are trained on all the same. */
	readonly #allowed: boolean;
	/** Rows that are trained on. */
	kept = 0;

	constructor(allowed: boolean) {
		this.#allowed = allowed;
	}

	get total(): number {
		return matchKinds.reduce((sum, kind) => sum + this.#counts[kind], 0);
	}

	/** Counts a row; true where it is to be trained on. */
	admit(kind: MatchKind | undefined): boolean {
		if (kind !== undefined) this.#counts[kind]++;
		const kept = kind === undefined || this.#allowed;
		if (kept) this.kept++;
		return kept;
	}

	add(other: LeakTally): void {
		for (const kind of matchKinds) this.#counts[kind] += other.#counts[kind];
		this.kept += other.kept;
	}

	/** For a stage's note; undefined where there is nothing to say. */
	note(): string | undefined {
		if (this.total === 0) return undefined;
		const kinds = matchKinds.filter((kind) => this.#counts[kind] > 0).map((kind) => `${this.#counts[kind]} ${kind}`);
		return `${this.total} ${this.#allowed ? "kept" : "dropped"} with a text of a test split (${kinds.join(", ")})`;
	}

	/** For a stage's metrics. */
	metrics(): Record<string, number> {
		return { leaks: this.total, ...Object.fromEntries(matchKinds.map((kind) => [`leaks_${kind}`, this.#counts[kind]])) };
	}

	/** @throws FintuneError E_DATA_EMPTY where nothing is left of a source because of its leaks */
	refuseIfEmpty(name: string): void {
		if (this.kept > 0 || this.total === 0) return;
		throw new FintuneError("E_DATA_EMPTY", `every row of ${name} has a text of a test split`, {
			found: this.note() ?? "",
			hint: "`fintune data check` shows which; allow_leaks: true trains on them",
		});
	}
}

/** What in a row of a file is compared; a name stands for it where results are kept. */
export interface Reading {
	name: string;
	/** None of a row that cannot be read: the stage says so when it reads it. */
	texts(raw: RawRow): readonly string[];
}

/** Rows of the kinds that a stage can use. */
export const trainingRows = (kinds: readonly RowKind[]): Reading => ({
	name: kinds.join(),
	texts: (raw) => {
		try {
			return comparedTexts(parseRow(raw, { kinds }));
		} catch (error) {
			if (error instanceof FintuneError) return [];
			throw error;
		}
	},
});

/** Stored generations: the query, and the text in it. */
export const generations: Reading = {
	name: "generations",
	texts: ({ value }) => (typeof value.query === "string" ? promptTexts(value.query) : []),
};

/** Rows of a corpus. */
export const corpusRows: Reading = {
	name: "corpus",
	texts: ({ value }) => (typeof value.text === "string" ? [value.text] : []),
};

/** Places of rows, or of texts, that repeat test texts, and how. */
type Leaks = (readonly [place: number, kind: MatchKind])[];

const isLeaks = (value: unknown): value is Leaks =>
	Array.isArray(value) &&
	value.every((leak) => Array.isArray(leak) && Number.isInteger(leak[0]) && matchKinds.includes(leak[1] as MatchKind));

/** The user's cache folder for what was found. */
export const leakCacheFolder = (): string => userCacheFolder("leaks");

/**
 * Compares sources with the test splits of all tasks. What was found is kept under a hash of the code, the test texts and
 * the source's content: indexing the test texts takes longer than everything else that a run does before its first step.
 */
export class LeakCheck {
	readonly #dataDirs: readonly string[];
	readonly #cacheFolder: string | undefined;
	#heldOut: Promise<HeldOut> | undefined;
	#fingerprint: string | undefined;
	readonly #seen = new Map<string, Promise<unknown>>();

	/** @param cacheFolder undefined: nothing is kept */
	constructor(dataDirs: readonly string[], cacheFolder?: string) {
		this.#dataDirs = dataDirs;
		this.#cacheFolder = cacheFolder;
	}

	/** The test splits, loaded when they are first asked for. */
	heldOut(): Promise<HeldOut> {
		this.#heldOut ??= HeldOut.load(this.#dataDirs);
		return this.#heldOut;
	}

	#once<T>(key: string, make: () => Promise<T>): Promise<T> {
		const made = (this.#seen.get(key) as Promise<T> | undefined) ?? make();
		this.#seen.set(key, made);
		return made;
	}

	/** What `search` finds in a source, kept where its content is the same afterwards. */
	async #kept(content: () => Promise<readonly string[]>, search: (heldOut: HeldOut) => Promise<Leaks> | Leaks): Promise<Leaks> {
		const heldOut = await this.heldOut();
		if (this.#cacheFolder === undefined) return search(heldOut);
		this.#fingerprint ??= heldOut.fingerprint();
		const name = async (): Promise<string> => {
			const hash = createHash("sha256").update(JSON.stringify([codeIdentity(), this.#fingerprint]));
			for (const part of await content()) hash.update(`${JSON.stringify(part)}\n`);
			return `${hash.digest("hex").slice(0, 32)}.json`;
		};
		const before = await name();
		return cached({
			folder: this.#cacheFolder,
			name: before,
			isValue: isLeaks,
			make: () => search(heldOut),
			holds: async () => (await name()) === before,
		});
	}

	/** All rows of a task's split, those with test texts included, and how these repeat them. */
	taskRows(task: Task, split: Split): Promise<{ rows: TaskRow[]; leaks: ReadonlyMap<TaskRow, MatchKind> }> {
		return this.#once(`task ${task.name} ${split}`, async () => {
			const { rows } = await task.loadWithReport(split, this.#dataDirs, { keepTestTexts: true });
			const loosest = loosestMatch(task);
			const texts = [...new Set(rows.map((row) => comparedText(task, row)))];
			const found = await this.#kept(
				async () => ["task", loosest, ...texts],
				(heldOut) => texts.flatMap((text, place) => at(place, strictest(heldOut.find([text], loosest)))),
			);
			const kinds = new Map(found.map(([place, kind]) => [texts[place], kind]));
			const leaks = new Map<TaskRow, MatchKind>();
			for (const row of rows) {
				const kind = kinds.get(comparedText(task, row));
				if (kind !== undefined) leaks.set(row, kind);
			}
			return { rows, leaks };
		});
	}

	/** How rows of files repeat test texts, by their place among the rows that can be read. */
	files(pattern: string, { name, texts }: Reading): Promise<ReadonlyMap<number, MatchKind>> {
		return this.#once(`files ${name} ${pattern}`, async () => {
			const leaks: Leaks = [];
			try {
				const found = await this.#kept(
					async () => ["files", name, ...(await contentOf(pattern))],
					async (heldOut) => {
						let place = 0;
						for await (const raw of readRows(pattern)) leaks.push(...at(place++, strictest(heldOut.find(texts(raw)))));
						return leaks;
					},
				);
				return new Map(found);
			} catch (error) {
				// Bad lines are told after all good rows, and again when the stage reads them.
				if (!(error instanceof FintuneError)) throw error;
				return new Map(leaks);
			}
		});
	}
}

const at = (place: number, kind: MatchKind | undefined): Leaks => (kind === undefined ? [] : [[place, kind]]);

/** Names, which tell the formats, and hashes of the files that a pattern means. */
async function contentOf(pattern: string): Promise<string[]> {
	const parts: string[] = [];
	for (const file of await expandPattern(pattern)) parts.push(basename(file), await hashFile(file));
	return parts;
}

function strictest(hits: readonly Hit[]): MatchKind | undefined {
	let best: Hit | undefined;
	for (const hit of hits) if (!best || stricter(hit, best)) best = hit;
	return best?.kind;
}

/** The items to train on, with the leaks among them counted. */
export async function* admitted<T>(
	items: Iterable<T> | AsyncIterable<T>,
	kindOf: (item: T, place: number) => MatchKind | undefined,
	tally: LeakTally,
): AsyncGenerator<T> {
	let place = 0;
	for await (const item of items) if (tally.admit(kindOf(item, place++))) yield item;
}
