/**
 * What trivial answers score on the tasks' test rows, measured with code of others (scikit-learn, and the leaderboard's own
 * for NER): for `fintune tasks show` where the rows are not here. With rows, `baselines/` measures them anew.
 * @module
 */

export interface KnownBaseline {
	name: string;
	/** The task's shown metric, by the leaderboard's rule. */
	value: number;
	/** The same by the corrected rule, where it is known to differ. */
	strict?: number;
}

const constant = (answer: string, value: number): KnownBaseline => ({ name: `always "${answer}"`, value });
const wordCounts = (value: number, strict?: number): KnownBaseline => ({
	name: "counting words (TF-IDF, linear model)",
	value,
	...(strict === undefined ? {} : { strict }),
});
/** Matthews correlation of any answer that never changes. */
const anyConstant: KnownBaseline = { name: "any constant answer", value: 0 };

const known: Record<string, readonly KnownBaseline[]> = {
	fpb: [constant("neutral", 0.444)],
	fiqasa: [constant("positive", 0.45), wordCounts(0.679)],
	fomc: [constant("neutral", 0.327), wordCounts(0.59)],
	multifin: [constant("Business & Management", 0.083), wordCounts(0.862)],
	sc: [constant("noise", 0.902), wordCounts(0.922)],
	headlines: [constant("No", 0.6), constant("Yes", 0.23)],
	tsa: [constant("0", 0.4), wordCounts(0.414, 0.318)],
	ner: [
		{ name: 'only "Borrower" and "Lender", as PER', value: 0.761 },
		{ name: "the three most frequent names of train", value: 0.794 },
		{ name: "the 49 names that train has twice", value: 0.832 },
	],
	bigdata22: [{ name: "always the larger class", value: 0.552 }],
};

/** Known values of a task's shown metric; nothing where none is known. */
export function knownBaselines({ name, headline }: { name: string; headline: string }): readonly KnownBaseline[] {
	return known[name] ?? (headline === "mcc" ? [anyConstant] : []);
}
