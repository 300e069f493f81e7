/**
 * Which training sets repeat which test sets, and how much: the counts of `fintune data check`.
 * @module
 */
import { type MatchKind, matchKinds } from "../data/decontaminate.js";
import { type Source, sourceText } from "../data/readers.js";
import { type HeldOut, type HeldOutEntry, type Hit, stricter } from "./held_out.js";
import type { Task } from "./task.js";

/** Examples of each kind that a pair of sets keeps. */
const examplesOfAKind = 5;

export type KindCounts = Record<MatchKind, number>;

export interface LeakExample {
	kind: MatchKind;
	/** Share of the test text's shingles that were found; 1 where the texts are equal. */
	share: number;
	/** file:line. */
	train: string;
	/** file:line of the first test row with that text. */
	test: string;
}

/** One training set against one test set. */
export interface LeakPair {
	training: string;
	test: string;
	/** Training rows, each by its strictest match. */
	trainRows: KindCounts & { total: number };
	/** Distinct test texts, each by its strictest match. */
	testTexts: KindCounts & { total: number };
	/** Test rows with one of these texts, each by its strictest match. */
	testRows: KindCounts & { total: number };
	examples: LeakExample[];
}

export interface LeakReport {
	/** `uncompared`: rows without a text, that is tokenised ones. */
	training: { name: string; rows: number; uncompared: number }[];
	test: { task: string; rows: number; texts: number }[];
	/** Pairs with a match only. */
	pairs: LeakPair[];
}

/** A row of training data. */
export interface CheckedRow {
	source: Source;
	texts: readonly string[];
	/** The loosest match that counts. */
	loosest: MatchKind;
}

/** Compares the rows of training sets with test sets, row by row as they come. */
export class LeakReporter {
	readonly #heldOut: HeldOut;
	readonly #report: LeakReport;

	constructor(heldOut: HeldOut) {
		this.#heldOut = heldOut;
		const texts = new Map<Task, number>();
		for (const { task } of heldOut.entries) texts.set(task, (texts.get(task) ?? 0) + 1);
		const test = heldOut.sets.map(({ task, rows }) => ({ task: task.name, rows: rows.length, texts: texts.get(task) ?? 0 }));
		this.#report = { training: [], test, pairs: [] };
	}

	get report(): LeakReport {
		return this.#report;
	}

	/** Reads one training set. */
	async add(name: string, rows: AsyncIterable<CheckedRow> | Iterable<CheckedRow>): Promise<void> {
		const set = { name, rows: 0, uncompared: 0 };
		const pairs = new Map<Task, PairCounts>();
		const find = Array.isArray(rows) ? remembered(this.#heldOut) : this.#heldOut.find.bind(this.#heldOut);
		for await (const { source, texts, loosest } of rows) {
			set.rows++;
			if (texts.length === 0) set.uncompared++;
			const byTask = new Map<Task, Hit[]>();
			for (const hit of find(texts, loosest)) byTask.set(hit.entry.task, [...(byTask.get(hit.entry.task) ?? []), hit]);
			for (const [task, hits] of byTask) {
				const counts = pairs.get(task) ?? new PairCounts();
				pairs.set(task, counts);
				counts.add(source, hits);
			}
		}
		this.#report.training.push(set);
		for (const { task } of this.#heldOut.sets) {
			const counts = pairs.get(task);
			if (counts) this.#report.pairs.push(counts.pair(name, task.name));
		}
	}
}

/** Looks up each text once (there are several questions about a headline); for rows whose texts are in memory anyway. */
function remembered(heldOut: HeldOut): HeldOut["find"] {
	const known = new Map<string, Hit[]>();
	return (texts, loosest) => {
		const key = texts.join("\n");
		const hits = known.get(key) ?? heldOut.find(texts, loosest);
		known.set(key, hits);
		return hits;
	};
}

class PairCounts {
	readonly #rows = emptyCounts();
	readonly #entries = new Map<HeldOutEntry, Hit>();
	readonly #examples: LeakExample[] = [];

	add(source: Source, hits: readonly Hit[]): void {
		let best = hits[0]!;
		for (const hit of hits) {
			if (stricter(hit, best)) best = hit;
			const known = this.#entries.get(hit.entry);
			if (!known || stricter(hit, known)) this.#entries.set(hit.entry, hit);
		}
		count(this.#rows, best.kind);
		if (this.#rows[best.kind] > examplesOfAKind) return;
		const { kind, share, entry } = best;
		this.#examples.push({ kind, share, train: sourceText(source), test: sourceText(entry.rows[0]!.source) });
	}

	pair(training: string, test: string): LeakPair {
		const testTexts = emptyCounts();
		const testRows = emptyCounts();
		for (const { kind, entry } of this.#entries.values()) {
			count(testTexts, kind);
			count(testRows, kind, entry.rows.length);
		}
		const byKind = (a: LeakExample, b: LeakExample): number => matchKinds.indexOf(a.kind) - matchKinds.indexOf(b.kind);
		return { training, test, trainRows: this.#rows, testTexts, testRows, examples: [...this.#examples].sort(byKind) };
	}
}

const emptyCounts = (): KindCounts & { total: number } => ({ exact: 0, normalised: 0, near: 0, total: 0 });

function count(counts: KindCounts & { total: number }, kind: MatchKind, by = 1): void {
	counts[kind] += by;
	counts.total += by;
}
