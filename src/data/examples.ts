/**
 * Rows to token ids: what training consumes.
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { FintuneError } from "../errors.js";
import type { ChatMessage } from "../text/chat_template.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Example, PairExample, SequenceExample } from "./example_types.js";
import { type LengthPolicy, type LengthTable, limitLength } from "./lengths.js";
import { Problems } from "./problems.js";
import { type RawRow, type Source, sourceText } from "./readers.js";
import { type KtoRow, type PreferenceRow, parseRow, type Row, type RowKind, type TextOrMessages } from "./rows.js";

export type * from "./example_types.js";

export interface ExampleOptions {
	/** Conversations: which assistant turns are supervised. Default "all". */
	assistantOnlyLoss?: "all" | "last";
	/** false: the prompt is learned too. Default true. Rows of text are always learned whole, tokenised rows as their mask says. */
	completionOnlyLoss?: boolean;
	/** Append EOS to rows of text (documents of a pretraining). Default false: a text is taken as it stands. */
	appendEosToText?: boolean;
	/** Tokens of the model's embedding, to check the ids of tokenised rows. */
	vocabSize?: number;
	/** Accept sequences in which nothing is supervised (scoring). Default false: such a row is an error. */
	allowUnsupervised?: boolean;
}

/**
 * One row as token ids. Prompt and completion are encoded apart and joined as tokens; a completion ends with EOS (once),
 * but not a rejected answer that was cut off. Tokenised rows are taken verbatim and need no tokenizer.
 * Errors: E_DATA_ROW for a row without any supervised token; E_TOKENIZER where the chat template does not fit;
 * E_NOT_FOUND where a tokenizer is needed and absent.
 */
export function toExample(row: Row, tokenizer?: Tokenizer, options: ExampleOptions = {}): Example {
	try {
		return encodeRow(row, tokenizer, options);
	} catch (error) {
		// What a chat template refuses is told with the row, too.
		if (!(error instanceof FintuneError) || error.code !== "E_TOKENIZER") throw error;
		throw new FintuneError("E_TOKENIZER", error.message, { where: sourceText(row.source), cause: error });
	}
}

function encodeRow(row: Row, tokenizer: Tokenizer | undefined, options: ExampleOptions): Example {
	const { source } = row;
	switch (row.kind) {
		case "tokenised":
			checkIds(row.inputIds, options.vocabSize, source);
			return sequence(row.inputIds, row.completionMask, source, options, row.label);
		case "tokenised-pair":
			for (const ids of [row.promptIds, row.chosenIds, row.rejectedIds]) checkIds(ids, options.vocabSize, source);
			return pair(row.promptIds, row.chosenIds, row.rejectedIds, source);
		case "prompt":
			if (!options.allowUnsupervised) throw noTarget(source, "a row with only a prompt has nothing to learn");
			return sequence(promptIds(row, tokenizer), [], source, options);
	}
	const tok = need(tokenizer, source);
	switch (row.kind) {
		case "text": {
			const ids = tok.encode(row.text);
			if (options.appendEosToText && ids.at(-1) !== tok.eosId) ids.push(tok.eosId);
			return sequence(ids, new Uint8Array(ids.length).fill(1), source, options);
		}
		case "messages": {
			const { assistantOnlyLoss = "all" } = options;
			if (
				!options.allowUnsupervised &&
				!row.messages.some((message, i) => message.role === "assistant" && i >= row.superviseFrom)
			) {
				throw noTarget(source, "the conversation has no assistant message to learn");
			}
			const { inputIds, completionMask } = tok.encodeChat(row.messages, { assistantOnlyLoss, superviseFrom: row.superviseFrom });
			return sequence(inputIds, options.completionOnlyLoss === false ? completionMask.fill(1) : completionMask, source, options);
		}
		case "prompt-completion":
			return promptAndAnswer(tok.encode(row.prompt), encodeCompletion(tok, row.completion, true), row, options);
		case "kto": {
			const { promptIds, answerIds } = encodeAnswer(tok, row.prompt, row.completion, !row.truncated, source);
			return promptAndAnswer(promptIds, answerIds, row, options);
		}
		case "preference":
			return toPair(row, tok);
	}
}

function promptAndAnswer(
	prompt: readonly number[],
	answer: readonly number[],
	row: { source: Source; label?: KtoRow["label"] },
	options: ExampleOptions,
): SequenceExample {
	const mask = new Uint8Array(prompt.length + answer.length).fill(1);
	if (options.completionOnlyLoss !== false) mask.fill(0, 0, prompt.length);
	return sequence([...prompt, ...answer], mask, row.source, options, row.label);
}

function toPair(row: PreferenceRow, tokenizer: Tokenizer): PairExample {
	const chosen = encodeAnswer(tokenizer, row.prompt, row.chosen, true, row.source);
	const rejected = encodeAnswer(tokenizer, row.prompt, row.rejected, !row.rejectedTruncated, row.source);
	const same =
		chosen.promptIds.length === rejected.promptIds.length && chosen.promptIds.every((id, i) => id === rejected.promptIds[i]);
	if (!same) {
		throw new FintuneError("E_TOKENIZER", "the chat template renders the prompt of chosen and of rejected differently");
	}
	return pair(chosen.promptIds, chosen.answerIds, rejected.answerIds, row.source);
}

/** A prompt and one answer, as texts or as messages; `ended`: the answer ends with its end token. */
function encodeAnswer(
	tokenizer: Tokenizer,
	prompt: TextOrMessages,
	answer: TextOrMessages,
	ended: boolean,
	source: Source,
): { promptIds: number[]; answerIds: number[] } {
	if (typeof prompt === "string" && typeof answer === "string") {
		return { promptIds: tokenizer.encode(prompt), answerIds: encodeCompletion(tokenizer, answer, ended) };
	}
	if (typeof prompt === "string" || typeof answer === "string") {
		throw new FintuneError("E_DATA_ROW", "prompt and answer must both be texts or both be messages", {
			where: sourceText(source),
		});
	}
	const messages: ChatMessage[] = [...prompt, ...answer];
	const { inputIds, completionMask } = tokenizer.encodeChat(messages, {
		assistantOnlyLoss: "last",
		superviseFrom: prompt.length,
	});
	const from = completionMask.indexOf(1);
	const to = completionMask.lastIndexOf(1) + 1;
	if (from < 0) throw noTarget(source, "the answer has no tokens");
	const answerIds = inputIds.slice(from, to);
	if (!ended && tokenizer.decode(answerIds.slice(-1), { skipSpecialTokens: true }) === "") answerIds.pop();
	return { promptIds: inputIds.slice(0, from), answerIds };
}

function encodeCompletion(tokenizer: Tokenizer, completion: string, ended: boolean): number[] {
	const ids = tokenizer.encode(completion, { addSpecialTokens: false });
	if (ended && ids.at(-1) !== tokenizer.eosId) ids.push(tokenizer.eosId);
	return ids;
}

/**
 * The ids to generate from: a prompt as it stands, messages through the chat template with the generation prompt,
 * input_ids verbatim. Errors: E_DATA_ROW for a row without a prompt or with an empty one.
 */
export function encodePrompt(row: Row, tokenizer?: Tokenizer): Int32Array {
	const ids = promptIds(row, tokenizer);
	if (ids.length > 0) return Int32Array.from(ids);
	throw new FintuneError("E_DATA_ROW", "the prompt has no tokens", { where: sourceText(row.source) });
}

function promptIds(row: Row, tokenizer: Tokenizer | undefined): readonly number[] {
	if (row.kind === "tokenised") return row.inputIds;
	if (row.kind === "tokenised-pair") return row.promptIds;
	const prompt =
		row.kind === "messages" ? row.messages.slice(0, row.superviseFrom || undefined) : row.kind === "text" ? row.text : row.prompt;
	const tok = need(tokenizer, row.source);
	if (typeof prompt === "string") return tok.encode(prompt);
	return tok.encode(tok.applyChatTemplate(prompt, { addGenerationPrompt: true }), { addSpecialTokens: false });
}

function need(tokenizer: Tokenizer | undefined, source: Source): Tokenizer {
	if (tokenizer) return tokenizer;
	throw new FintuneError("E_NOT_FOUND", "the row is text, and the model folder has no tokenizer.json", {
		where: sourceText(source),
		expected: "a tokenizer, or tokenised rows {input_ids, ...}",
	});
}

const noTarget = (source: Source, why: string): FintuneError =>
	new FintuneError("E_DATA_ROW", `no token is supervised: ${why}`, { where: sourceText(source) });

function checkIds(ids: readonly number[], vocabSize: number | undefined, source: Source): void {
	const bad = vocabSize === undefined ? undefined : ids.find((id) => id >= vocabSize);
	if (bad === undefined) return;
	throw new FintuneError("E_DATA_ROW", "a token id is beyond the model's vocabulary", {
		expected: `ids below ${vocabSize}`,
		found: String(bad),
		where: sourceText(source),
	});
}

function sequence(
	ids: readonly number[],
	mask: ArrayLike<number>,
	source: Source,
	options: ExampleOptions,
	label?: boolean,
): SequenceExample {
	const completionMask = new Uint8Array(ids.length);
	completionMask.set(mask);
	completionMask[0] = 0;
	if (!options.allowUnsupervised && !completionMask.includes(1)) {
		throw noTarget(source, ids.length < 2 ? "the row has fewer than two tokens" : "the mask has no 1 after the first token");
	}
	return { kind: "sequence", inputIds: Int32Array.from(ids), completionMask, ...(label === undefined ? {} : { label }), source };
}

function pair(prompt: readonly number[], chosen: readonly number[], rejected: readonly number[], source: Source): PairExample {
	// Without a prompt the first token of an answer has nothing it could be predicted from.
	const least = prompt.length === 0 ? 2 : 1;
	if (chosen.length < least) throw noTarget(source, "the chosen answer has no tokens");
	if (rejected.length < least) throw noTarget(source, "the rejected answer has no tokens");
	return {
		kind: "pair",
		promptIds: Int32Array.from(prompt),
		chosenIds: Int32Array.from(chosen),
		rejectedIds: Int32Array.from(rejected),
		source,
	};
}

export interface EncodeRowsOptions extends ExampleOptions {
	/** Which kinds of rows the caller can use. Default: all. */
	kinds?: readonly RowKind[];
	maxLength?: number;
	/** What to do with examples longer than maxLength. Default "error". */
	lengthPolicy?: LengthPolicy;
	/** How many bad rows are shown in full. Default 20. */
	maxErrors?: number;
}

export interface EncodedRows {
	examples: Example[];
	lengths: LengthTable;
	/** Rows in which the tokenizer's vocabulary lacks a character, which is thereby lost, and the characters. */
	unencodable: { rows: number; characters: string[] };
}

/**
 * Rows of files to examples, in order. All bad rows are thrown together.
 * Errors: those of the rows' iterator; FintuneErrors of E_DATA_ROW, E_TOKENIZER, E_DATA_TOO_LONG; E_DATA_EMPTY without any row.
 */
export async function encodeRows(
	rows: AsyncIterable<RawRow> | Iterable<RawRow>,
	tokenizer: Tokenizer | undefined,
	options: EncodeRowsOptions = {},
): Promise<EncodedRows> {
	const problems = new Problems(options.maxErrors);
	const examples: Example[] = [];
	const lost = { rows: 0, characters: new Set<string>() };
	let seen = 0;
	for await (const raw of rows) {
		const example = problems.catch(["E_DATA_ROW", "E_TOKENIZER"], () => {
			const row = parseRow(raw, options);
			const missing = tokenizer?.unencodable?.(rowText(row)) ?? "";
			if (missing !== "") lost.rows++;
			for (const character of missing) lost.characters.add(character);
			return toExample(row, tokenizer, options);
		});
		if (example) examples.push(example);
		// A long data set must not keep signals waiting.
		if (++seen % 256 === 0) await setImmediate();
	}
	problems.throwIfAny("row");
	if (examples.length === 0) throw new FintuneError("E_DATA_EMPTY", "there is no row to learn from");
	const { maxLength, lengthPolicy, maxErrors } = options;
	const limited = limitLength(examples, {
		...(maxLength === undefined ? {} : { maxLength }),
		...(lengthPolicy === undefined ? {} : { policy: lengthPolicy }),
		...(maxErrors === undefined ? {} : { maxErrors }),
	});
	return { ...limited, unencodable: { rows: lost.rows, characters: [...lost.characters].sort() } };
}

/** Everything of a row that is encoded. */
function rowText(row: Row): string {
	const textOf = (value: TextOrMessages): string =>
		typeof value === "string" ? value : value.map((message) => message.content).join("\n");
	switch (row.kind) {
		case "tokenised":
		case "tokenised-pair":
			return "";
		case "text":
			return row.text;
		case "messages":
			return textOf(row.messages);
		case "prompt":
			return textOf(row.prompt);
		case "preference":
			return [row.prompt, row.chosen, row.rejected].map(textOf).join("\n");
		default:
			return [row.prompt, row.completion].map(textOf).join("\n");
	}
}
