/**
 * Rule N of the leaderboard: lines "name, TYPE" are searched in the text and turned into BIO tags, scored as entities.
 * @module
 */
import { compareSpans, entityF1, entitySpans, type Span, type SpanCounts } from "../metrics/entities.js";
import { codePointOffsets, pyLength, pySplit, pyStrip } from "../metrics/pytext.js";
import { afterThinking } from "./answers.js";
import { BoardCrash, type Doc, listColumn, meanOf, type Prepared, type Scorer, textColumn } from "./scoring.js";

/** How the strict score of rule N departs from the leaderboard's. */
export const nerStrictRules =
	"The answer is what follows </think>; a line is split at its last comma, name and type are stripped, list marks and a closing " +
	"full stop are dropped, and the type must be PER, ORG or LOC in any case (other lines count as unusable_lines). A name is found " +
	"where its words equal whole words of the text, the last word included; longer names win where names overlap. A name that is " +
	"not in the text counts as one wrong entity. An answer without a usable line is missing.";

const types = new Set(["PER", "ORG", "LOC"]);

export const ruleN: Scorer = {
	leaderboardMetrics: ["entity_f1"],
	strictMetrics: ["entity_f1", "precision", "recall", "unusable_lines", "missing"],
	leaderboard(docs, outputs) {
		const counts: SpanCounts[] = [];
		let crash: BoardCrash | undefined;
		docs.forEach((doc, row) => {
			const { text, label } = columns(doc, row);
			const tags = boardTags(text, outputs[row] as string);
			if (tags.length !== label.length) {
				crash ??= new BoardCrash("ValueError", `${label.length} labels for ${tags.length} words`, row);
			}
			counts.push(compareSpans(entitySpans(label), entitySpans(tags)));
		});
		if (crash) throw crash;
		return { aggregates: { entity_f1: (indices) => entityF1(counts, indices) }, perDocument: documentF1(counts) };
	},
	strict(docs, outputs) {
		const unusable = new Float64Array(docs.length);
		const lines = new Float64Array(docs.length);
		const counts = docs.map((doc, row) => {
			const { text, label } = columns(doc, row);
			const answer = afterThinking(outputs[row] as string) ?? "";
			const read = readEntityLines(answer);
			unusable[row] = read.unusable;
			lines[row] = read.unusable + read.entities.length;
			const { spans, absent } = placeEntities(pySplit(text), read.entities);
			const compared = compareSpans(entitySpans(label), spans);
			return { ...compared, predicted: compared.predicted + absent };
		});
		const total = (indices: ArrayLike<number>, value: (row: number) => number): number => {
			let sum = 0;
			for (let i = 0; i < indices.length; i++) sum += value(indices[i] as number);
			return sum;
		};
		const ratio = (top: (row: number) => number, bottom: (row: number) => number) => (indices: ArrayLike<number>) => {
			const whole = total(indices, bottom);
			return whole === 0 ? 0 : total(indices, top) / whole;
		};
		const at = (row: number): SpanCounts => counts[row] as SpanCounts;
		return {
			aggregates: {
				entity_f1: (indices) => entityF1(counts, indices),
				precision: ratio(
					(row) => at(row).hits,
					(row) => at(row).predicted,
				),
				recall: ratio(
					(row) => at(row).hits,
					(row) => at(row).gold,
				),
				unusable_lines: ratio(
					(row) => unusable[row] as number,
					(row) => lines[row] as number,
				),
				missing: meanOf(counts.map((_, row) => (lines[row] === unusable[row] ? 1 : 0))),
			},
			perDocument: documentF1(counts),
		};
	},
};

function columns(doc: Doc, row: number): { text: string; label: readonly string[] } {
	return { text: textColumn(doc, "text", row), label: listColumn(doc, "label", row) };
}

function documentF1(counts: readonly SpanCounts[]): Prepared["perDocument"] {
	return { entity_f1: counts.map((_, row) => entityF1(counts, [row])) };
}

/**
 * The leaderboard's tags of an answer, with its quirks: nothing is stripped, any string is a type, word starts assume
 * single blanks, a match inside a word moves to the next one, and a match that reaches the last word is lost.
 */
export function boardTags(text: string, output: string): string[] {
	const words = pySplit(text);
	const tags = new Array<string>(words.length).fill("O");
	const starts: number[] = [];
	let next = 0;
	for (const word of words) {
		starts.push(next);
		next += pyLength(word) + 1;
	}
	const pointAt = codePointOffsets(text);
	for (const line of output.split("\n")) {
		const comma = line.lastIndexOf(", ");
		const name = comma < 0 ? "" : line.slice(0, comma);
		const type = line.slice(comma + 2);
		if (name === "") continue;
		for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + name.length)) {
			const start = pointAt[at] as number;
			const last = start + pyLength(name) - 1;
			const first = starts.findIndex((s) => s >= start);
			const after = starts.findIndex((s) => s > last);
			if (first < 0 || after < 0) continue;
			tags[first] = `B-${type}`;
			for (let i = first + 1; i < after; i++) tags[i] = `I-${type}`;
		}
	}
	return tags;
}

export interface NamedEntity {
	name: string;
	type: string;
}

/** The usable "name, TYPE" lines of an answer, and how many non-empty lines were not. */
export function readEntityLines(answer: string): { entities: NamedEntity[]; unusable: number } {
	const entities: NamedEntity[] = [];
	let unusable = 0;
	for (const raw of answer.split("\n")) {
		const line = pyStrip(raw);
		if (line === "") continue;
		const comma = line.lastIndexOf(",");
		const type = pyStrip(line.slice(comma + 1))
			.replace(/[.;]+$/, "")
			.toUpperCase();
		const name = comma < 0 ? "" : pyStrip(pyStrip(line.slice(0, comma)).replace(/^(?:[-*•]|\d+[.)])\s+/u, ""));
		if (name === "" || !types.has(type)) unusable++;
		else entities.push({ name, type });
	}
	return { entities, unusable };
}

/**
 * Where the names stand in the words of a text: every occurrence, longer names first, no overlap; among names of equal
 * length the first line wins.
 * @returns the spans, and the number of distinct names (with type) that stand nowhere in the text
 */
export function placeEntities(words: readonly string[], entities: readonly NamedEntity[]): { spans: Span[]; absent: number } {
	const distinct = new Map<string, { words: string[]; type: string }>();
	for (const { name, type } of entities) {
		const parts = pySplit(name);
		const key = `${type} ${parts.join(" ")}`;
		if (!distinct.has(key)) distinct.set(key, { words: parts, type });
	}
	const taken = new Uint8Array(words.length);
	const spans: Span[] = [];
	let absent = 0;
	for (const entity of [...distinct.values()].sort((a, b) => b.words.length - a.words.length)) {
		const length = entity.words.length;
		let occurs = false;
		for (let start = 0; start + length <= words.length; start++) {
			if (!entity.words.every((word, i) => words[start + i] === word)) continue;
			occurs = true;
			if (taken.subarray(start, start + length).some((t) => t === 1)) continue;
			taken.fill(1, start, start + length);
			spans.push({ type: entity.type, start, end: start + length });
		}
		if (!occurs) absent++;
	}
	return { spans, absent };
}
