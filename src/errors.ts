/**
 * The one catalogue of errors: a code, an exit status (sysexits), and a message that teaches:
 * what was expected, what was found, where, and what to do.
 * @module
 */

/** Exit statuses of the command line, see README "Exit status". */
export const ExitStatus = {
	ok: 0,
	gateNotPassed: 3,
	usage: 64,
	dataError: 65,
	noInput: 66,
	unavailable: 69,
	software: 70,
	cannotCreate: 73,
	ioError: 74,
	tryAgain: 75,
	noPermission: 77,
	config: 78,
} as const;
export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

/** Every error code with the exit status it leads to. Codes are stable; messages may improve. */
export const errorCatalogue = {
	E_USAGE: ExitStatus.usage,
	/** A pipeline file: unknown key, wrong type, impossible combination. */
	E_CONFIG: ExitStatus.config,
	/** A row of data that cannot be used. */
	E_DATA_ROW: ExitStatus.dataError,
	/** A data file that cannot be read as its format. */
	E_DATA_FORMAT: ExitStatus.dataError,
	/** A file whose content is not what its hash promised. */
	E_CHECKSUM: ExitStatus.dataError,
	/** No usable row is left. */
	E_DATA_EMPTY: ExitStatus.dataError,
	/** A prompt and answer longer than max_length under the policy "error". */
	E_DATA_TOO_LONG: ExitStatus.dataError,
	/** A safetensors file that is malformed, or does not fit its config. */
	E_WEIGHTS: ExitStatus.dataError,
	/** config.json of a model: malformed. */
	E_MODEL_CONFIG: ExitStatus.dataError,
	/** A well-formed model that fintune does not support (named in the message). */
	E_MODEL_UNSUPPORTED: ExitStatus.dataError,
	/** A PEFT adapter that does not fit the model, or uses an unsupported feature. */
	E_ADAPTER: ExitStatus.dataError,
	/** tokenizer.json, tokenizer_config.json or the chat template. */
	E_TOKENIZER: ExitStatus.dataError,
	/** A task's generations or documents that cannot be scored. */
	E_SCORING: ExitStatus.dataError,
	/** A file or folder that should be there. */
	E_NOT_FOUND: ExitStatus.noInput,
	/** Task data that is not installed. */
	E_TASK_DATA: ExitStatus.noInput,
	E_NATIVE_MISSING: ExitStatus.unavailable,
	E_DEVICE: ExitStatus.unavailable,
	E_OUT_OF_MEMORY: ExitStatus.unavailable,
	/** A loss, gradient or logit that is not finite. */
	E_NUMERIC: ExitStatus.dataError,
	/** A loss or gradient norm above the limit set for the step. */
	E_STEP_LIMIT: ExitStatus.dataError,
	/** The check of a fresh adapter's initial loss: the reference is not the model below it. */
	E_REFERENCE: ExitStatus.dataError,
	E_CANNOT_CREATE: ExitStatus.cannotCreate,
	E_IO: ExitStatus.ioError,
	E_PERMISSION: ExitStatus.noPermission,
	/** Another process holds the run folder. */
	E_LOCKED: ExitStatus.tryAgain,
	/** Other processes hold the memory of the GPU. */
	E_BUSY: ExitStatus.tryAgain,
	/** The host's memory ran short while a stage trained; what was done is in a checkpoint. */
	E_MEMORY_SHORT: ExitStatus.tryAgain,
	/** A server that cannot be reached, breaks off, or has no time. */
	E_NETWORK: ExitStatus.tryAgain,
	/** Stopped on request; what was finished is kept. */
	E_ABORTED: ExitStatus.tryAgain,
	/** An argument of a public function. */
	E_ARGUMENT: ExitStatus.usage,
	E_INTERNAL: ExitStatus.software,
} as const;
export type ErrorCode = keyof typeof errorCatalogue;

export interface ErrorDetails {
	/** What was expected. */
	expected?: string;
	/** What was found instead. */
	found?: string;
	/** file, file:line, file:line:column, key or tensor name. */
	where?: string;
	/** What the reader can do about it. */
	hint?: string;
	cause?: unknown;
}

/** The only error class that fintune throws on purpose. `message` is complete; the parts are kept beside it. */
export class FintuneError extends Error {
	override readonly name = "FintuneError";
	readonly code: ErrorCode;
	readonly expected: string | undefined;
	readonly found: string | undefined;
	readonly where: string | undefined;
	readonly hint: string | undefined;

	constructor(code: ErrorCode, summary: string, details: ErrorDetails = {}) {
		const parts = [details.where ? `${details.where}: ${summary}` : summary];
		if (details.expected !== undefined || details.found !== undefined) {
			const found = details.found === undefined ? "" : `found ${details.found}`;
			const expected = details.expected === undefined ? "" : `expected ${details.expected}`;
			parts.push([expected, found].filter(Boolean).join(", "));
		}
		if (details.hint) parts.push(details.hint);
		super(parts.join("\n  "), details.cause === undefined ? undefined : { cause: details.cause });
		this.code = code;
		this.expected = details.expected;
		this.found = details.found;
		this.where = details.where;
		this.hint = details.hint;
	}

	get exitStatus(): ExitStatus {
		return errorCatalogue[this.code];
	}
}

/** Several errors of one kind found in one pass (all config errors, all bad rows), shown at once. */
export class FintuneErrors extends FintuneError {
	readonly errors: readonly FintuneError[];
	constructor(errors: readonly FintuneError[]) {
		const first = errors[0];
		if (!first) throw new Error("FintuneErrors needs at least one error");
		super(first.code, errors.map((e) => e.message).join("\n"));
		this.errors = errors;
	}
}

/** Whether a run ends with this to go on later: it was told to stop, or stopped in time by itself. */
export const isStop = (error: unknown): boolean =>
	error instanceof FintuneError && (error.code === "E_ABORTED" || error.code === "E_MEMORY_SHORT");

const systemCodes: Record<string, { code: ErrorCode; text: string; hint?: string }> = {
	ENOENT: { code: "E_NOT_FOUND", text: "no such file or folder" },
	ENOTDIR: { code: "E_NOT_FOUND", text: "a part of the path is not a folder" },
	EISDIR: { code: "E_NOT_FOUND", text: "is a folder, a file was expected" },
	EACCES: { code: "E_PERMISSION", text: "permission denied", hint: "check the owner and mode of the file and of its folders" },
	EPERM: { code: "E_PERMISSION", text: "operation not permitted" },
	EROFS: { code: "E_CANNOT_CREATE", text: "the file system is read-only" },
	ENOSPC: { code: "E_IO", text: "no space left on the device", hint: "free some space and run again; finished stages are kept" },
	EDQUOT: { code: "E_IO", text: "disk quota exceeded" },
	EFBIG: { code: "E_IO", text: "file too large for the file system or the limit of this process (ulimit -f)" },
	EEXIST: { code: "E_CANNOT_CREATE", text: "already exists" },
	EMFILE: { code: "E_IO", text: "too many open files" },
	EIO: { code: "E_IO", text: "input/output error" },
};

/**
 * Turns what Node's file functions throw into a catalogue error; leaves FintuneErrors alone.
 * @param where the path the caller was working on
 */
export function fromSystemError(error: unknown, where: string): FintuneError {
	if (error instanceof FintuneError) return error;
	const code = (error as NodeJS.ErrnoException | undefined)?.code;
	const known = code === undefined ? undefined : systemCodes[code];
	if (known) {
		return new FintuneError(known.code, known.text, { where, cause: error, ...(known.hint ? { hint: known.hint } : {}) });
	}
	const message = error instanceof Error ? error.message : String(error);
	return new FintuneError("E_IO", message, { where, cause: error });
}

/** The candidate nearest to `word` by edit distance, if it is near enough to be a misspelling. */
export function nearestName(word: string, candidates: Iterable<string>): string | undefined {
	let best: string | undefined;
	let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
	for (const candidate of candidates) {
		const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
		if (distance < bestDistance) {
			best = candidate;
			bestDistance = distance;
		}
	}
	return best;
}

function editDistance(a: string, b: string): number {
	let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
	for (let i = 1; i <= a.length; i++) {
		const row = [i];
		for (let j = 1; j <= b.length; j++) {
			const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
			row.push(Math.min((previous[j] as number) + 1, (row[j - 1] as number) + 1, substitution));
		}
		previous = row;
	}
	return previous[b.length] as number;
}
