/**
 * The model a pipeline works on: a base and a stack of adapters that grows as stages train. It is opened when a stage
 * first needs it and stays open as long as the base is the same.
 * @module
 */
import { type DtypeName, type Model, type ModelFiles, openModel, resolveModel } from "../engine/model.js";
import { licenceNote } from "../tasks/licences.js";
import type { Task } from "../tasks/task.js";
import { openTokenizer, type Tokenizer } from "../text/tokenizer.js";

export interface SessionOptions {
	device: string;
	dtype: DtypeName;
	threads: number;
}

interface Open {
	key: string;
	model: Model;
	stack: string[];
}

export class ModelSession {
	/** Folder of the base model. */
	base: string;
	/** Adapter folders, bottom first. */
	stack: string[];
	readonly options: SessionOptions;
	readonly #licencesTold = new Set<string>();
	#open: Open | undefined;
	#tokenizer: { dir: string; tokenizer: Tokenizer } | undefined;

	constructor(base: string, stack: readonly string[], options: SessionOptions) {
		this.base = base;
		this.stack = [...stack];
		this.options = options;
	}

	/** The folder that the name or path of the base stands for. */
	folder(): ModelFiles {
		return resolveModel(this.base);
	}

	/** Says under which licence a task's data stand, where a user should know, once a task. */
	tellLicence(task: Task, tell: (message: string) => void): void {
		const note = licenceNote(task);
		if (note === undefined || this.#licencesTold.has(task.name)) return;
		this.#licencesTold.add(task.name);
		tell(note);
	}

	/** The tokenizer of the base. */
	async tokenizer(): Promise<Tokenizer> {
		const { dir } = this.folder();
		if (this.#tokenizer?.dir !== dir) this.#tokenizer = { dir, tokenizer: await openTokenizer(dir) };
		return this.#tokenizer.tokenizer;
	}

	/** The open model with exactly the present stack on it. */
	async model(variant: { trainable?: boolean; random?: { seed: number; std: number } } = {}): Promise<Model> {
		const key = JSON.stringify([this.base, variant]);
		if (this.#open && (this.#open.key !== key || !startsWith(this.stack, this.#open.stack))) await this.close();
		if (!this.#open) {
			const { dir } = this.folder();
			const { threads, ...options } = this.options;
			const model = await openModel(dir, { ...options, ...(threads > 0 ? { threads } : {}), ...variant });
			this.#open = { key, model, stack: [] };
		}
		const open = this.#open;
		for (const adapter of this.stack.slice(open.stack.length)) {
			await open.model.addAdapter(adapter);
			open.stack.push(adapter);
		}
		return open.model;
	}

	/** Frees the model; the next {@link model} opens it again. */
	async close(): Promise<void> {
		const open = this.#open;
		this.#open = undefined;
		await open?.model.dispose();
	}
}

const startsWith = (list: readonly string[], start: readonly string[]): boolean => start.every((item, i) => list[i] === item);
