/**
 * The kinds of rows that training and generation read.
 * @module
 */
import type { ChatMessage } from "../text/chat_template.js";
import type { Source } from "./readers.js";

interface RowBase {
	source: Source;
	/** Columns that the shape does not use. */
	extra: Record<string, unknown>;
}

/** A text, or the messages of a conversation. */
export type TextOrMessages = string | ChatMessage[];

export interface TokenisedRow extends RowBase {
	kind: "tokenised";
	inputIds: number[];
	/** `completionMask[t]` = 1: predicting token t counts. */
	completionMask: number[];
	label?: boolean;
}
export interface TokenisedPairRow extends RowBase {
	kind: "tokenised-pair";
	promptIds: number[];
	chosenIds: number[];
	rejectedIds: number[];
}
export interface PreferenceRow extends RowBase {
	kind: "preference";
	/** All three are texts, or all three are messages; chosen and rejected then are one assistant message each. */
	prompt: TextOrMessages;
	chosen: TextOrMessages;
	rejected: TextOrMessages;
	/** The rejected answer was cut off by a length limit: its end is not to be learned, so it gets no EOS. */
	rejectedTruncated: boolean;
}
export interface KtoRow extends RowBase {
	kind: "kto";
	prompt: TextOrMessages;
	completion: TextOrMessages;
	label: boolean;
	/** The completion was cut off by a length limit (it then gets no EOS; never so for a desirable one). */
	truncated: boolean;
}
export interface PromptCompletionRow extends RowBase {
	kind: "prompt-completion";
	prompt: string;
	completion: string;
}
export interface MessagesRow extends RowBase {
	kind: "messages";
	messages: ChatMessage[];
	/** Assistant turns before this index are context only (rows that give prompt and completion as messages). */
	superviseFrom: number;
}
export interface TextRow extends RowBase {
	kind: "text";
	text: string;
}
/** Something to answer: nothing is supervised. */
export interface PromptRow extends RowBase {
	kind: "prompt";
	prompt: TextOrMessages;
}

export type Row =
	| TokenisedRow
	| TokenisedPairRow
	| PreferenceRow
	| KtoRow
	| PromptCompletionRow
	| MessagesRow
	| TextRow
	| PromptRow;
export type RowKind = Row["kind"];

/** A row before its place and its other columns are known. */
export type Unplaced<T> = T extends Row ? Omit<T, "source" | "extra"> : never;
