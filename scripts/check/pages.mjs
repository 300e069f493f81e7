/**
 * Pages of a key/value cache as the checks lay them: by turns from the front and the back of the pool, NaN where no token
 * lies.
 */

/** Tokens of a page. */
export const pageTokens = 32;

/** The page table [rows, maxPages] of sequences of these lengths, and lay(values): the pool that holds them. */
export function pagesOf(lengths, cols) {
	const each = lengths.map((n) => Math.ceil(n / pageTokens));
	const [pages, maxPages] = [each.reduce((a, b) => a + b, 0), Math.max(...each)];
	const table = new Int32Array(each.length * maxPages);
	let next = 0;
	each.forEach((n, row) => {
		for (let p = 0; p < n; p++, next++) {
			table[row * maxPages + p] = next % 2 === 0 ? next / 2 : pages - (next + 1) / 2;
		}
	});
	const lay = (all) => {
		const values = new Float32Array(pages * pageTokens * cols).fill(Number.NaN);
		all.forEach((of, row) => {
			for (let j = 0; j < lengths[row]; j++) {
				const page = table[row * maxPages + Math.floor(j / pageTokens)];
				values.set(of.subarray(j * cols, (j + 1) * cols), (page * pageTokens + (j % pageTokens)) * cols);
			}
		});
		return values;
	};
	return { table, lay, rows: pages * pageTokens };
}
