/**
 * Runs of words that many texts share: disclaimers, calls to subscribe, the form of a report.
 * @module
 */
import { PairNumbers } from "./pair_numbers.js";

/** A run of so many words is boilerplate ... */
export const boilerplateWords = 8;
/** ... where more than so many texts have it. */
export const boilerplateTexts = 10;

/**
 * Where the runs of boilerplate begin in each text, in order. Runs of 1, 2, 4 and 8 words are numbered in turn; one that
 * is rare makes every longer one rare, so that few are kept.
 * @param texts as the numbers of their words, from 0
 */
export function boilerplateStarts(texts: readonly (readonly number[])[]): number[][] {
	let runs = onlyCommon(texts);
	for (let width = 1; width < boilerplateWords; width *= 2) {
		const pairs = new PairNumbers();
		const longer = runs.map((ids) => {
			const length = Math.max(0, ids.length - width);
			return Array.from({ length }, (_, i) => pairs.add(ids[i]!, ids[i + width]!));
		});
		runs = onlyCommon(longer);
	}
	return runs.map((ids) => [...ids.keys()].filter((i) => ids[i]! >= 0));
}

/** The same lists, with -1 for numbers that no more than `boilerplateTexts` of them have. */
function onlyCommon(lists: readonly (readonly number[])[]): number[][] {
	const count: number[] = [];
	const last: number[] = [];
	for (const [place, ids] of lists.entries()) {
		for (const id of ids) {
			if (id < 0 || last[id] === place) continue;
			count[id] = (count[id] ?? 0) + 1;
			last[id] = place;
		}
	}
	return lists.map((ids) => ids.map((id) => (id >= 0 && count[id]! > boilerplateTexts ? id : -1)));
}
