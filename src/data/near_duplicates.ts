/**
 * Which held-out texts a training text nearly repeats.
 *
 * **Definition.** Texts are compared as the words of their normalised form, by their sets of shingles (Broder 1997): here
 * two neighbouring words. A held-out text A of at least six words is nearly in a training text B where either
 * 1. *contained*: some stretch of B of at most 1.5 times A's words holds 3/4 of A's shingles, or
 * 2. *cut short*: B has six words or more, 3/4 of B's shingles are in A, and they are half of A's or more;
 * and, in both cases, 3/4 of the different numbers (words with a digit) of the text that is contained are in the other.
 *
 * Why so: evaluation harnesses call a document contaminated that shares a run of 13 words with a test text (Brown et al.
 * 2020, appendix C; lm-eval's decontamination), which never happens to a headline of 6 to 20 words, and does happen to
 * contracts that share a clause. Two words a shingle and 3/4 of them stand one changed word in nine and any text put
 * before or after, in short texts and long ones. Numbers are asked for apart since financial texts are often one
 * sentence with other figures: "net sales rose 3 % to EUR 13.1 mn" and "net sales rose 4 % to EUR 12.2 mn" are two facts.
 * The stretch keeps a long document from collecting a headline's word pairs here and there.
 *
 * *Boilerplate* proves nothing: shingles inside a run of 8 words that more than 10 held-out texts have ("enter your email
 * address below to receive a concise daily summary") are not among A's, as Brown et al. ignore runs that occur more than
 * 10 times. A text of which fewer than five shingles are left is only compared as a whole.
 *
 * The search is exact: containment is counted over sets, not estimated by MinHash. Held-out texts are found by their
 * rarest shingles: whoever shares half of a set shares one of any (half and one) of it (prefix filtering, Chaudhuri et
 * al. 2006).
 * @module
 */

/** Texts of fewer words are only compared as a whole. */
export const nearMinWords = 6;
/** The share of the contained text's shingles, and of its numbers, that must be found. */
export const nearShare = 0.75;
/** The least share of a held-out text that a training text cut out of it must hold. */
export const cutShare = 0.5;
/** A run of so many words is boilerplate ... */
export const boilerplateWords = 8;
/** ... where more than so many held-out texts have it. */
export const boilerplateTexts = 10;
/** The longest stretch of a training text in which a held-out one is looked for, in words of the latter. */
export const nearStretch = 1.5;

/** A held-out text that is nearly in a training text. */
export interface NearMatch {
	/** Place of the held-out text in the list that the index was made of. */
	index: number;
	/** Share of its shingles that were found. */
	share: number;
}

/** Room for two word numbers in the 53 bits of a safe integer. */
const wordBase = 2 ** 26;

interface Entry {
	index: number;
	words: number;
	shingles: Float64Array;
	/** Word numbers of the words with a digit. */
	numbers: Int32Array;
}

/** A training text as word numbers. */
interface Read {
	ids: number[];
	/** The shingle that begins at each word but the last. */
	shingles: number[];
	distinct: Set<number>;
	numbers: Set<number>;
}

/** An index over held-out texts. */
export class NearDuplicates {
	readonly #words = new Map<string, number>();
	readonly #isNumber: boolean[] = [];
	/** Texts by their rarest shingles. */
	readonly #postings = new Map<number, Entry[]>();

	/** @param heldOut normalised texts, each once */
	constructor(heldOut: readonly string[]) {
		const texts = heldOut.map((text) => text.split(" ").map((word) => this.#number(word)));
		const boilerplate = boilerplateStarts(texts);
		const entries: Entry[] = [];
		const frequency = new Map<number, number>();
		for (const [index, ids] of texts.entries()) {
			if (ids.length < nearMinWords) continue;
			const common = boilerplate[index]!;
			const own = shinglesOf(ids).filter((_, i) => !common.some((start) => start <= i && i + 1 < start + boilerplateWords));
			const shingles = Float64Array.from(new Set(own));
			if (shingles.length < nearMinWords - 1) continue;
			for (const shingle of shingles) frequency.set(shingle, (frequency.get(shingle) ?? 0) + 1);
			const numbers = Int32Array.from(new Set(ids.filter((id) => this.#isNumber[id])));
			entries.push({ index, words: ids.length, shingles, numbers });
		}
		for (const entry of entries) {
			entry.shingles.sort((a, b) => frequency.get(a)! - frequency.get(b)! || a - b);
			const unseen = entry.shingles.length - Math.ceil(cutShare * entry.shingles.length);
			for (const shingle of entry.shingles.subarray(0, unseen + 1)) {
				const known = this.#postings.get(shingle);
				if (known) known.push(entry);
				else this.#postings.set(shingle, [entry]);
			}
		}
	}

	#number(word: string): number {
		let id = this.#words.get(word);
		if (id === undefined) {
			id = this.#words.size;
			this.#words.set(word, id);
			this.#isNumber.push(/\p{N}/u.test(word));
		}
		return id;
	}

	/** The held-out texts that this one nearly repeats, in the order of the index. Equal texts are among them. */
	find(normalised: string): NearMatch[] {
		const text = this.#read(normalised);
		const candidates = new Set<Entry>();
		for (const shingle of text.distinct) for (const entry of this.#postings.get(shingle) ?? []) candidates.add(entry);
		const found: NearMatch[] = [];
		for (const entry of candidates) {
			const share = shareOf(entry, text);
			if (share > 0) found.push({ index: entry.index, share });
		}
		return found.sort((a, b) => a.index - b.index);
	}

	/** Words that no held-out text has are numbered after those that one has. */
	#read(normalised: string): Read {
		const others = new Map<string, number>();
		const numbers = new Set<number>();
		const ids = normalised.split(" ").map((word) => {
			const known = this.#words.get(word) ?? others.get(word);
			const id = known ?? this.#words.size + others.size;
			if (known === undefined) others.set(word, id);
			if (id < this.#words.size ? this.#isNumber[id] : /\p{N}/u.test(word)) numbers.add(id);
			return id;
		});
		const shingles = shinglesOf(ids);
		return { ids, shingles, distinct: new Set(shingles), numbers };
	}
}

function shinglesOf(ids: readonly number[]): number[] {
	return Array.from({ length: Math.max(0, ids.length - 1) }, (_, i) => ids[i]! * wordBase + ids[i + 1]!);
}

/**
 * Where the runs of boilerplate begin in each text. Runs of 2, 4 and 8 words are numbered in turn; one that is rare makes
 * every longer one rare, so that few are kept.
 */
function boilerplateStarts(texts: readonly (readonly number[])[]): number[][] {
	let runs: readonly (readonly number[])[] = texts;
	for (let width = 1; width < boilerplateWords; width *= 2) {
		const keys = runs.map((ids) =>
			Array.from({ length: Math.max(0, ids.length - width) }, (_, i) => {
				const [first, second] = [ids[i]!, ids[i + width]!];
				return first < 0 || second < 0 ? -1 : first * wordBase + second;
			}),
		);
		const frequency = new Map<number, number>();
		for (const own of keys) for (const key of new Set(own)) frequency.set(key, (frequency.get(key) ?? 0) + 1);
		const numbers = new Map<number, number>();
		for (const [key, count] of frequency) if (key >= 0 && count > boilerplateTexts) numbers.set(key, numbers.size);
		runs = keys.map((own) => own.map((key) => numbers.get(key) ?? -1));
	}
	return runs.map((ids) => [...ids.keys()].filter((i) => ids[i]! >= 0));
}

/** The share of a held-out text's shingles that make it a near duplicate; 0 where it is none. */
function shareOf(entry: Entry, text: Read): number {
	const { shingles, numbers } = entry;
	let common = 0;
	for (const shingle of shingles) if (text.distinct.has(shingle)) common++;
	if (common < cutShare * shingles.length) return 0;
	if (common >= nearShare * shingles.length) {
		const share = densestStretch(entry, text);
		if (share > 0) return share;
	}
	if (text.ids.length < nearMinWords || common < nearShare * text.distinct.size) return 0;
	let told = 0;
	for (const number of numbers) if (text.numbers.has(number)) told++;
	return told >= nearShare * text.numbers.size ? common / shingles.length : 0;
}

/** The highest share of a held-out text's shingles in one stretch of a text that also has its numbers; 0 below `nearShare`. */
function densestStretch({ words, shingles, numbers }: Entry, text: Read): number {
	const stretch = Math.ceil(nearStretch * words);
	const inStretch = new Map<number, number>();
	for (const shingle of shingles) inStretch.set(shingle, 0);
	const numbersInStretch = new Map<number, number>();
	for (const number of numbers) numbersInStretch.set(number, 0);
	let best = 0;
	let found = 0;
	let told = 0;
	for (let end = 0; end < text.ids.length; end++) {
		told += enter(numbersInStretch, text.ids[end]!);
		if (end > 0) found += enter(inStretch, text.shingles[end - 1]!);
		const start = end - stretch;
		if (start >= 0) {
			told -= leave(numbersInStretch, text.ids[start]!);
			found -= leave(inStretch, text.shingles[start]!);
		}
		if (found > best && found >= nearShare * shingles.length && told >= nearShare * numbers.length) best = found;
	}
	return best / shingles.length;
}

/** Counts an item that is looked for; 1 where it is the only one of its kind now. */
function enter(counts: Map<number, number>, item: number): 0 | 1 {
	const count = counts.get(item);
	if (count === undefined) return 0;
	counts.set(item, count + 1);
	return count === 0 ? 1 : 0;
}

/** Takes one back; 1 where it was the last of its kind. */
function leave(counts: Map<number, number>, item: number): 0 | 1 {
	const count = counts.get(item);
	if (count === undefined) return 0;
	counts.set(item, count - 1);
	return count === 1 ? 1 : 0;
}
