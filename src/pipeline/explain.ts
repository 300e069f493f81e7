/**
 * What the schema found wrong with a pipeline file, as messages with file:line:column and the nearest name.
 * @module
 */
import type { z } from "zod";
import { FintuneError, nearestName } from "../errors.js";
import { pipelineSchema } from "./schema.js";

/** Keys and list indices from the top of the file. */
export type Path = (string | number)[];

function keysAt(path: Path, raw: unknown): string[] {
	// The schema that applies at a path, found by walking the value beside it: enough to name the nearest key.
	let schema: unknown = pipelineSchema;
	let value: unknown = raw;
	for (const key of path) {
		schema = childSchema(schema, key, value);
		value = value === null || typeof value !== "object" ? undefined : (value as Record<string | number, unknown>)[key];
	}
	return [...new Set(shapesOf(schema, value).flatMap((shape) => Object.keys(shape)))];
}

type Def = { type: string; innerType?: unknown; options?: unknown[]; element?: unknown; shape?: Record<string, unknown> };
const defOf = (schema: unknown): Def | undefined => (schema as { _zod?: { def?: Def } } | undefined)?._zod?.def;

function shapesOf(schema: unknown, value: unknown): Record<string, unknown>[] {
	const def = defOf(schema);
	if (!def) return [];
	if (def.type === "object") return [def.shape ?? {}];
	if (def.type === "default" || def.type === "optional") return shapesOf(def.innerType, value);
	if (def.type === "union") {
		const type = (value as { type?: unknown } | undefined)?.type;
		const options = def.options ?? [];
		const chosen = options.filter((o) => {
			const literal = defOf(defOf(o)?.shape?.type) as { values?: unknown[] } | undefined;
			return literal?.values?.includes(type);
		});
		return (chosen.length > 0 ? chosen : options).flatMap((o) => shapesOf(o, value));
	}
	return [];
}

function childSchema(schema: unknown, key: string | number, value: unknown): unknown {
	const def = defOf(schema);
	if (!def) return undefined;
	if (def.type === "array") return def.element;
	if (def.type === "default" || def.type === "optional") return childSchema(def.innerType, key, value);
	for (const shape of shapesOf(schema, value)) if (key in shape) return shape[key];
	return undefined;
}

/**
 * One error for each finding. Of alternatives (the sources of data) the one that fits best is explained.
 * @param raw the file's value
 * @param where file:line:column of a path
 */
export function explainIssues(issues: readonly z.core.$ZodIssue[], raw: unknown, where: (path: Path) => string): FintuneError[] {
	return issues.flatMap((issue): FintuneError[] => {
		const path = issue.path as Path;
		const key = readablePath(path, raw);
		if (issue.code === "unrecognized_keys") {
			const known = keysAt(path, raw);
			return issue.keys.map((unknown) => {
				const near = nearestName(unknown, known);
				return new FintuneError("E_CONFIG", `unknown key "${unknown}"${key ? ` in ${key}` : ""}`, {
					where: where([...path, unknown]),
					hint: near ? `did you mean "${near}"?` : `known keys: ${known.join(", ")}`,
				});
			});
		}
		if (issue.code === "invalid_union" && "errors" in issue && issue.errors.length > 0) {
			// The alternative that fits best is the one the author meant.
			const best = [...issue.errors].sort((a, b) => weight(a) - weight(b))[0]!;
			return explainIssues(
				best.map((inner) => ({ ...inner, path: [...path, ...inner.path] })),
				raw,
				where,
			);
		}
		const value = path.reduce<unknown>(
			(v, k) => (v === null || typeof v !== "object" ? undefined : (v as Record<string | number, unknown>)[k]),
			raw,
		);
		const missing = value === undefined;
		return [
			new FintuneError("E_CONFIG", missing ? `${key || "the file"} is missing` : `${key || "the file"} has a wrong value`, {
				where: where(path),
				expected: issue.message.replace(/^Invalid (input|option): expected /, "").replace(/, received .*$/, ""),
				...(missing ? {} : { found: JSON.stringify(value) }),
			}),
		];
	});
}

const weight = (issues: readonly z.core.$ZodIssue[]): number => issues.reduce((sum, issue) => sum + weightOf(issue), 0);

function weightOf({ code, path, message }: z.core.$ZodIssue): number {
	if (code === "unrecognized_keys") return 1;
	if (code !== "invalid_type") return 2;
	// The whole is of another kind: text where an object is meant.
	if (path.length === 0) return 10;
	return message.includes("undefined") ? 3 : 2;
}

function readablePath(path: Path, raw: unknown): string {
	return path
		.map((key, i) => {
			if (typeof key === "string") return i === 0 ? key : `.${key}`;
			if (i === 1 && path[0] === "stages") {
				const name = (raw as { stages?: { name?: unknown }[] }).stages?.[key]?.name;
				if (typeof name === "string") return `.${name}`;
			}
			return `[${key}]`;
		})
		.join("");
}
