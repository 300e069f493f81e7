/**
 * Texts as sparse TF-IDF vectors of words and word pairs, as scikit-learn's TfidfVectorizer(ngram_range=(1, 2)) defines
 * them: lower case, words of two or more letters or digits, raw counts times ln((1 + n) / (1 + df)) + 1, rows of length 1.
 *
 * Own code, because the npm packages that count words (natural, wink-nlp, tiny-tfidf, stopword-bound classifiers) use other
 * weights or other words, and the figures this is compared with come from scikit-learn's.
 * @module
 */

/** Rows of a sparse matrix: row i is columns `indices[starts[i]..starts[i+1]]` with `values` of the same places. */
export interface SparseRows {
	rows: number;
	columns: number;
	starts: Int32Array;
	indices: Int32Array;
	values: Float64Array;
}

/** Runs of two or more word characters: Python's \w is letters, digits and the underscore, without combining marks. */
const word = /[\p{L}\p{N}_]{2,}/gu;

/** The words and the pairs of neighbouring words of a text, with repeats. */
export function wordsAndPairs(text: string): string[] {
	const words = text.toLowerCase().match(word) ?? [];
	const grams: string[] = [...words];
	for (let i = 1; i < words.length; i++) grams.push(`${words[i - 1]} ${words[i]}`);
	return grams;
}

/** Vocabulary and weights learnt from texts. */
export class TfidfVectorizer {
	readonly #columnOf = new Map<string, number>();
	readonly #idf: Float64Array;

	/** @param texts what the document frequencies are counted on */
	constructor(texts: readonly string[]) {
		const frequency: number[] = [];
		for (const text of texts) {
			for (const gram of new Set(wordsAndPairs(text))) {
				const column = this.#columnOf.get(gram);
				if (column === undefined) {
					this.#columnOf.set(gram, frequency.length);
					frequency.push(1);
				} else {
					frequency[column] = (frequency[column] as number) + 1;
				}
			}
		}
		this.#idf = Float64Array.from(frequency, (df) => Math.log((1 + texts.length) / (1 + df)) + 1);
	}

	/** Number of words and pairs known. */
	get columns(): number {
		return this.#idf.length;
	}

	/** The vectors of texts; words that were never seen are left out, and a text of only such words is all zeros. */
	transform(texts: readonly string[]): SparseRows {
		const starts = new Int32Array(texts.length + 1);
		const indices: number[] = [];
		const values: number[] = [];
		for (const [i, text] of texts.entries()) {
			const counts = new Map<number, number>();
			for (const gram of wordsAndPairs(text)) {
				const column = this.#columnOf.get(gram);
				if (column !== undefined) counts.set(column, (counts.get(column) ?? 0) + 1);
			}
			let squares = 0;
			for (const [column, count] of counts) {
				const weight = count * (this.#idf[column] as number);
				squares += weight * weight;
				indices.push(column);
				values.push(weight);
			}
			const length = Math.sqrt(squares);
			for (let k = values.length - counts.size; k < values.length; k++) values[k] = (values[k] as number) / length;
			starts[i + 1] = indices.length;
		}
		return {
			rows: texts.length,
			columns: this.columns,
			starts,
			indices: Int32Array.from(indices),
			values: Float64Array.from(values),
		};
	}
}
