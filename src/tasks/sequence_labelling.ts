/**
 * Rule S of the leaderboard: output line i is "token:label" of token i.
 * @module
 */
import type { CorpusMetric } from "../metrics/bootstrap.js";
import { averageF1, countClasses, encodeLabels } from "../metrics/classification.js";
import { compareSpans, entityF1, entitySpans } from "../metrics/entities.js";
import { pyStrip } from "../metrics/pytext.js";
import { afterThinking } from "./answers.js";
import { BoardCrash, listColumn, meanOf, type Prepared, type Scorer } from "./scoring.js";

/** How the strict score of rule S departs from the leaderboard's. */
export const sequenceStrictRules =
	"The answer is what follows </think>; a line is split at its last colon and both parts are stripped, so tokens may hold colons " +
	"and blanks may follow them. Lines are aligned with the tokens in order (longest common subsequence) instead of by position, so " +
	"that one skipped token does not lose all that follow. A token without a line is wrong in f1 and O in entity_f1; an answer " +
	"without a line for any token is missing.";

/** What stands for "no known label" in token F1: a class that is nobody's gold. */
const UNKNOWN = "-1";

/** Rule S. @param known the labels of the task, O included */
export function ruleS(known: readonly string[]): Scorer {
	const labels = new Set(known);
	return {
		leaderboardMetrics: ["f1", "entity_f1"],
		strictMetrics: ["f1", "entity_f1", "missing"],
		leaderboard(docs, outputs) {
			const gold = docs.map((doc, row) => listColumn(doc, "label", row));
			const predicted = docs.map((doc, row) => {
				const tokens = listColumn(doc, "token", row);
				const marks = new Array<string>((gold[row] as readonly string[]).length).fill(UNKNOWN);
				const lines = (outputs[row] as string).split("\n").slice(0, tokens.length);
				lines.forEach((line, i) => {
					const [word, label, ...rest] = line.split(":");
					if (rest.length > 0 || label === undefined || word !== tokens[i] || !labels.has(label)) return;
					if (i >= marks.length) throw new BoardCrash("IndexError", "a line matches a token beyond the labels", row);
					marks[i] = label;
				});
				return marks;
			});
			return prepare(gold, predicted, (tag, row) => {
				if (!labels.has(tag)) throw new BoardCrash("KeyError", `the gold label "${tag}" is not one of the task`, row);
			});
		},
		strict(docs, outputs) {
			const gold = docs.map((doc, row) => listColumn(doc, "label", row));
			const predicted = docs.map((doc, row) => {
				const tokens = listColumn(doc, "token", row);
				const marks = new Array<string>((gold[row] as readonly string[]).length).fill(UNKNOWN);
				const lines = readLines(afterThinking(outputs[row] as string) ?? "", labels);
				const pairs = alignInOrder(
					lines.map((line) => line.word),
					tokens,
				);
				for (const [line, token] of pairs) if (token < marks.length) marks[token] = lines[line]?.label ?? UNKNOWN;
				return marks;
			});
			const prepared = prepare(gold, predicted, () => {});
			prepared.aggregates.missing = meanOf(predicted.map((marks) => (marks.every((mark) => mark === UNKNOWN) ? 1 : 0)));
			return prepared;
		},
	};
}

function readLines(answer: string, labels: ReadonlySet<string>): { word: string; label: string }[] {
	return answer.split("\n").flatMap((line) => {
		const colon = line.lastIndexOf(":");
		const label = pyStrip(line.slice(colon + 1)).toUpperCase();
		const found = [...labels].find((known) => known.toUpperCase() === label);
		return colon < 0 || found === undefined ? [] : [{ word: pyStrip(line.slice(0, colon)), label: found }];
	});
}

/** Pairs (i, j) with a[i] = b[j], both rising, as many as possible. */
function alignInOrder(a: readonly string[], b: readonly string[]): [number, number][] {
	const width = b.length + 1;
	const best = new Uint16Array((a.length + 1) * width);
	const at = (i: number, j: number): number => best[i * width + j] as number;
	for (let i = a.length - 1; i >= 0; i--) {
		for (let j = b.length - 1; j >= 0; j--) {
			best[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
		}
	}
	const pairs: [number, number][] = [];
	for (let i = 0, j = 0; i < a.length && j < b.length; ) {
		if (a[i] === b[j]) pairs.push([i++, j++]);
		else if (at(i + 1, j) >= at(i, j + 1)) i++;
		else j++;
	}
	return pairs;
}

/** @param checkGold throws where the leaderboard's token F1 cannot number a gold label */
function prepare(
	gold: readonly (readonly string[])[],
	predicted: readonly (readonly string[])[],
	checkGold: (tag: string, row: number) => void,
): Prepared {
	const spans = gold.map((tags, row) => {
		const marks = (predicted[row] as readonly string[]).map((mark) => (mark === UNKNOWN ? "O" : mark));
		return compareSpans(entitySpans(tags), entitySpans(marks));
	});
	const pairs = encodeLabels(gold.flat(), predicted.flat());
	const starts = [0];
	for (const tags of gold) starts.push((starts.at(-1) as number) + tags.length);
	const tokenF1: CorpusMetric = (indices) => {
		const tokens: number[] = [];
		for (let i = 0; i < indices.length; i++) {
			const row = indices[i] as number;
			for (const tag of gold[row] as readonly string[]) checkGold(tag, row);
			for (let t = starts[row] as number; t < (starts[row + 1] as number); t++) tokens.push(t);
		}
		if (tokens.length === 0) throw new BoardCrash("ValueError", "there is no token to score");
		return averageF1(countClasses(pairs, tokens), "weighted");
	};
	return {
		aggregates: { f1: tokenF1, entity_f1: (indices) => entityF1(spans, indices) },
		perDocument: { entity_f1: spans.map((_, row) => entityF1(spans, [row])) },
	};
}
