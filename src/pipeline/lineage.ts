/**
 * What the next stage stands on: the base model and the adapters on it, each as an identity (who made it, from what) and as
 * content (the files themselves, whoever made them).
 * @module
 */
import type { Manifest } from "../stages/manifest.js";
import type { StageRecord } from "./folder.js";
import { contentIdentity } from "./identity.js";

export class Lineage {
	/** Identity of the base model: its folder's hash, or the identity of the stage that trained it. */
	model: string;
	/** One entry for each adapter of the stack: a folder's hash, or the identity of the stage that trained it. */
	stack: string[];
	/** The same as hashes of the files themselves. */
	readonly content: { model: string; stack: string[]; stages: Map<string, string> };

	constructor(model: string, stack: readonly string[]) {
		this.model = model;
		this.stack = [...stack];
		this.content = { model, stack: [...stack], stages: new Map() };
	}

	/** What a finished stage adds. */
	accept(record: StageRecord, manifest: Manifest): void {
		const content = contentIdentity(manifest);
		this.content.stages.set(record.name, content);
		if (record.outcome.trained === "adapter") {
			this.stack.push(record.identity);
			this.content.stack.push(content);
		} else if (record.outcome.trained === "model") {
			this.stack = [];
			this.model = record.identity;
			this.content.stack = [];
			this.content.model = content;
		}
	}
}
