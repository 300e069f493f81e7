/**
 * Reads a pipeline file: YAML with positions, `--set` overrides, the schema, and what only the whole file can show
 * (names, references, test splits). All errors are collected and shown at once with file:line:column.
 * @module
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { type Document, isCollection, isNode, isPair, isSeq, LineCounter, type Node, parseDocument, visit } from "yaml";
import { FintuneError, FintuneErrors, fromSystemError } from "../errors.js";
import { stageSchema } from "../stages/schema.js";
import { type CheckedStage, crossChecks } from "./checks.js";
import { explainIssues, type Path } from "./explain.js";
import { applyOverride } from "./overrides.js";
import { type PipelineConfig, pipelineSchema, promoteSchema } from "./schema.js";
import type { RunOptions } from "./types.js";

export interface LoadedPipeline {
	config: PipelineConfig;
	/** The file, and the folder its relative paths start from. */
	file: string;
	folder: string;
	/** The date that the run belongs to, YYYY-MM-DD; `${as_of}` in the file stands for it. */
	asOf?: string;
}

/** Reads and checks a pipeline file. @throws FintuneErrors E_CONFIG with every error found; E_NOT_FOUND */
export async function loadPipeline(file: string, overrides: readonly string[] = [], asOf?: string): Promise<LoadedPipeline> {
	let bytes: Buffer;
	try {
		bytes = await readFile(file);
	} catch (error) {
		throw fromSystemError(error, file);
	}
	let text: string;
	try {
		text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
	} catch (error) {
		throw new FintuneError("E_CONFIG", "is not valid UTF-8", { where: file, expected: "a YAML file", cause: error });
	}
	return parsePipeline(text, file, overrides, asOf);
}

/** As {@link loadPipeline}, for a text that was read already. `file` is used in messages and for relative paths. */
export function parsePipeline(text: string, file: string, overrides: readonly string[] = [], asOf?: string): LoadedPipeline {
	const lines = new LineCounter();
	const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: true });
	if (document.errors.length > 0) {
		throw new FintuneErrors(
			document.errors.map((e) => {
				const at = e.linePos?.[0];
				const message = e.message.split("\n")[0]!.replace(/ at line \d+.*$/, "");
				return new FintuneError("E_CONFIG", e.code === "DUPLICATE_KEY" ? "this key occurs twice" : `is not YAML: ${message}`, {
					where: at ? `${file}:${at.line}:${at.col}` : file,
					cause: e,
				});
			}),
		);
	}
	const applied: { path: Path; override: string }[] = [];
	for (const override of overrides) applied.push({ path: applyOverride(document, override), override });
	const where = (path: Path): string => {
		const setting = applied.findLast((a) => a.path.length <= path.length && a.path.every((key, i) => key === path[i]));
		if (setting) return `--set ${setting.override}`;
		const offset = offsetOf(document, path);
		if (offset === undefined) return file;
		const { line, col } = lines.linePos(offset);
		return `${file}:${line}:${col}`;
	};
	const dateErrors = fillInDate(document, asOf, where);
	let raw: unknown;
	try {
		raw = document.toJS();
	} catch (error) {
		// Aliases without an anchor, or more of them than anyone writes by hand.
		throw new FintuneError("E_CONFIG", `is not YAML: ${(error as Error).message}`, { where: file, cause: error });
	}
	if (raw === null || typeof raw !== "object" || Array.isArray(raw)) {
		throw new FintuneError("E_CONFIG", "is no pipeline", {
			where: file,
			expected: "keys name, model and stages",
			found: raw === null ? "an empty file" : Array.isArray(raw) ? "a list" : JSON.stringify(raw).slice(0, 80),
		});
	}
	const parsed = pipelineSchema.safeParse(raw);
	const errors = [
		...dateErrors,
		...(parsed.success ? [] : explainIssues(parsed.error.issues, raw, where)),
		...crossChecks(
			checkedStages(raw),
			Array.isArray((raw as { adapters?: unknown }).adapters) ? (raw as { adapters: unknown[] }).adapters.length : 0,
			where,
			promoteSchema.safeParse((raw as { promote?: unknown }).promote).data,
		),
	];
	if (!parsed.success || errors.length > 0) throw new FintuneErrors(errors);
	return { config: parsed.data, file, folder: dirname(resolve(file)), ...(asOf === undefined ? {} : { asOf }) };
}

const asOfVariable = "${as_of}";

/** Puts the run's date in the place of `${as_of}`, wherever a text of the file has it. */
function fillInDate(document: Document, asOf: string | undefined, where: (path: Path) => string): FintuneError[] {
	const errors: FintuneError[] = [];
	visit(document, {
		Scalar(_, node, ancestors) {
			if (typeof node.value !== "string" || !node.value.includes(asOfVariable)) return;
			if (asOf !== undefined) node.value = node.value.replaceAll(asOfVariable, asOf);
			else {
				errors.push(
					new FintuneError("E_CONFIG", `has ${asOfVariable}, but the run has no date`, {
						where: where(pathOf(node, ancestors)),
						hint: "say which, e.g. --as-of today",
					}),
				);
			}
		},
	});
	return errors;
}

/** Keys and indices that lead to a node. */
function pathOf(node: Node, ancestors: readonly unknown[]): Path {
	const path: Path = [];
	ancestors.forEach((ancestor, i) => {
		const below = ancestors[i + 1] ?? node;
		if (isPair(ancestor)) path.push(String(ancestor.key));
		else if (isSeq(ancestor)) path.push(ancestor.items.indexOf(below));
	});
	return path;
}

/** Where the runs of a pipeline lie: runs/NAME below the working folder unless told otherwise. */
export const runsFolder = ({ config }: Pick<LoadedPipeline, "config">, out?: string): string => out ?? join("runs", config.name);

/** Where a run lies: in the pipeline's folder of runs, and with a date in DATE below it. */
export function runFolder(pipeline: Pick<LoadedPipeline, "config" | "asOf">, out?: string): string {
	const runs = runsFolder(pipeline, out);
	return pipeline.asOf === undefined ? runs : join(runs, pipeline.asOf);
}

/** A path of the pipeline file, relative to the file's folder. */
export const resolvePath = (pipeline: Pick<LoadedPipeline, "folder">, path: string): string =>
	isAbsolute(path) ? path : resolve(pipeline.folder, path);

/** The stages one by one, so that a mistake in one does not hide those in the others. */
function checkedStages(raw: object): CheckedStage[] {
	const { stages } = raw as { stages?: unknown };
	return (Array.isArray(stages) ? stages : []).map((stage: unknown): CheckedStage => {
		const parsed = stageSchema.safeParse(stage);
		if (parsed.success) return { config: parsed.data };
		const name = (stage as { name?: unknown } | null)?.name;
		return { broken: { name: typeof name === "string" ? name : undefined } };
	});
}

/** Offset of the node at a path, or of its nearest parent that exists. */
function offsetOf(document: Document, path: Path): number | undefined {
	for (let length = path.length; length >= 0; length--) {
		const key = path[length - 1];
		const parent = document.getIn(path.slice(0, Math.max(0, length - 1)), true);
		if (length > 0 && isCollection(parent) && "items" in parent) {
			for (const item of parent.items as { key?: Node & { value?: unknown } }[]) {
				if (item?.key && isNode(item.key) && String(item.key.value) === String(key) && item.key.range) return item.key.range[0];
			}
		}
		const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
		if (isNode(node) && node.range) return node.range[0];
	}
	return undefined;
}

/** The config with everything the command line decided. */
export function resolvedConfig(pipeline: LoadedPipeline, options: Pick<RunOptions, "device" | "dtype" | "threads">) {
	const { config } = pipeline;
	return {
		...config,
		device: options.device ?? config.device,
		dtype: (options.dtype ?? config.dtype) as typeof config.dtype,
		threads: options.threads ?? config.threads,
	};
}

/** `model:` is a path relative to the file where such a folder exists there, else a name for the engine to resolve. */
export function modelPath(pipeline: LoadedPipeline): string {
	const { model } = pipeline.config;
	const beside = resolvePath(pipeline, model);
	return existsSync(beside) ? beside : model;
}
