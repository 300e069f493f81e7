/**
 * Whether training rows look as a training needs them, token by token: what is supervised, how a row begins and ends.
 * @module
 */
import type { SequenceExample } from "../data/examples.js";
import { type Tokenizer, turnEndId } from "../text/tokenizer.js";

/** Marks around what is supervised in a shown row. */
const [opening, closing] = ["«", "»"];
/** Characters of a shown row at either end. */
const shownEnd = 300;

/** A row as the model sees it, special tokens included, with « » around what it is trained on. */
export function shownExample({ inputIds, completionMask }: SequenceExample, tokenizer: Pick<Tokenizer, "decode">): string {
	let text = "";
	for (let start = 0; start < inputIds.length; ) {
		let end = start + 1;
		while (end < inputIds.length && completionMask[end] === completionMask[start]) end++;
		const part = tokenizer.decode(inputIds.subarray(start, end), { skipSpecialTokens: false });
		text += completionMask[start] ? `${opening}${part}${closing}` : part;
		start = end;
	}
	return text.length <= 2 * shownEnd ? text : `${text.slice(0, shownEnd)} ... ${text.slice(-shownEnd)}`;
}

/** What is odd about the rows of a stage, a sentence each. */
export function oddities(examples: readonly SequenceExample[], tokenizer: Tokenizer): string[] {
	const { bosId, eosId, padId } = tokenizer;
	const ends = new Set([eosId, turnEndId(tokenizer)]);
	const found: string[] = [];
	const count = (holds: (example: SequenceExample) => boolean): number => examples.filter(holds).length;
	const supervises = (id: number) => (e: SequenceExample) =>
		e.inputIds.some((token, t) => token === id && e.completionMask[t] === 1);
	const ending = count(({ inputIds, completionMask }) => ends.has(inputIds.at(-1)!) && completionMask.at(-1) === 1);
	if (examples.length > 0 && ending === 0) {
		found.push("no row ends with a supervised end token: the model does not learn to stop");
	}
	const doubled = bosId === undefined ? 0 : count(({ inputIds }) => inputIds[0] === bosId && inputIds[1] === bosId);
	if (doubled > 0) found.push(`${doubled} rows begin with the beginning-of-text token twice: is it in the text as well?`);
	const padded = padId === undefined || ends.has(padId) ? 0 : count(supervises(padId));
	if (padded > 0) found.push(`${padded} rows supervise the padding token`);
	return found;
}
