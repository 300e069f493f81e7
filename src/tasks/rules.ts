/**
 * The leaderboard's scoring rules in words, and what to beware of: for `fintune tasks show`.
 * @module
 */
import type { RuleLetter } from "./board.js";

export interface RuleText {
	/** How an output becomes a score. */
	rule: string;
	/** Where the rule measures something else than it seems to. */
	traps: readonly string[];
}

export const rules: Record<RuleLetter, RuleText> = {
	C: {
		rule: "The first option of the stored list that occurs in the lower-cased output, as any part of it, is the prediction; without one the answer is missing and wrong. F1 is weighted over the labels of the gold answers.",
		traps: [
			"the order of the stored list decides, not the order in the output: an output that names every option is scored as the first",
			'options match inside words: "no" in "not" and "noise", "pay" in "payment"',
			"a chain of thought that names several options is scored by the list's order",
		],
	},
	H: {
		rule: 'The prediction is Yes only where the stripped output is exactly "Yes", else No. Weighted F1 for each of the nine questions; the score is their mean.',
		traps: ['a model that never says exactly "Yes" scores 0.600', '"Yes." and "yes" count as No'],
	},
	M: {
		rule: "As C, but an option also matches through synonyms (rise: yes, positive; fall: no, negative, neutral; good: yes, positive; bad: no, negative, neutral); what matches nothing is taken for fall, or for good.",
		traps: [
			"missing is always 0: an empty output is an answer",
			'"no" matches in know, not, economy and normal; "rise" in enterprise and surprise',
		],
	},
	T: {
		rule: "The first unsigned number of the output's first line, clipped to [-1, 1]; the root of the mean squared error over the outputs that have one (low is good).",
		traps: [
			"the minus sign is lost: perfect answers score 0.561, always 0 scores 0.400",
			"outputs without a number are left out of the error",
			"any number before the answer wins",
		],
	},
	N: {
		rule: 'Each line "name, type" marks every occurrence of the name in the text; entity F1 over all documents as seqeval counts it by default.',
		traps: [
			"an entity that ends at the last word is lost",
			"extra blanks in the text shift the marks",
			"later lines overwrite earlier ones",
			"two words learnt from train (Borrower, Lender) score 0.761",
		],
	},
	S: {
		rule: 'Output line i is "token:label" of token i; entity F1 as seqeval counts it by default, and F1 of the tokens weighted by their gold labels.',
		traps: [
			"a leading blank line or one skipped token loses all that follows",
			"a token that holds a colon can never match",
			"no blank may follow the colon",
		],
	},
	R: {
		rule: 'All output lines as one set against all gold triplets "head ; tail ; relation" as one set: precision, recall, F1.',
		traps: [
			"a triplet predicted for another document counts as right",
			"every other line, prose and empty ones included, is a wrong prediction once",
		],
	},
	Q: {
		rule: "Right where the stripped output equals the answer, character by character.",
		traps: ["any explanation is wrong", "0.5 and 0.50, 5% and 0.05 differ"],
	},
	A: {
		rule: "ROUGE-1, 2 and L without stemming; what is shown is the median of 1,000 bootstrap means drawn with a fixed seed. BERTScore and BARTScore are not computed.",
		traps: ["the median depends on the documents' order, in the third decimal", "accented letters split words"],
	},
	X: {
		rule: "Output line i marks sentence i by 1; the marked sentences are compared with those of the gold by ROUGE. BERTScore and BARTScore are not computed.",
		traps: [
			"the leaderboard compares texts with numbers, so that every model scores 0; the strict score does what the task intends",
		],
	},
	E: {
		rule: "PIXIU registers the Spanish tasks under rule C (FNS under A); FinBen's newer harness filters the options with their case.",
		traps: ["lower-cased options of one letter match nearly any output: the exams' board scores mean little"],
	},
};
